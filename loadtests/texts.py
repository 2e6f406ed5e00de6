"""The texts of the load test: written for it, by hand, and taken from no data set.

Twenty-two languages in fourteen scripts. From the sentences are made short queries, sentences, pages and bulk
requests, so that the mix has the lengths that clients really send: many short ones, some long ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onoma.text import is_unspaced

QUERIES: dict[str, tuple[str, ...]] = {
    "en": ("hotels near Buckingham Palace London", "who founded Microsoft", "weather Cape Town tomorrow"),
    "de": ("Fahrplan Köln Hauptbahnhof", "Aktie Siemens heute", "wer war Hannah Arendt"),
    "fr": ("musées à Lyon", "biographie de Simone Veil"),
    "es": ("vuelos de Bogotá a Madrid", "novelas de Isabel Allende"),
    "pt": ("restaurantes em Porto Alegre", "discos de Caetano Veloso"),
    "it": ("treni Torino Bologna", "film di Sofia Loren"),
    "ru": ("погода в Новосибирске", "стихи Анны Ахматовой"),
    "uk": ("погода у Львові", "вірші Лесі Українки"),
    "el": ("ξενοδοχεία στη Θεσσαλονίκη", "τραγούδια του Μίκη Θεοδωράκη"),
    "ar": ("فنادق في القاهرة", "روايات نجيب محفوظ"),
    "fa": ("هتل در اصفهان", "شعرهای فروغ فرخزاد"),
    "he": ("מלונות בירושלים", "ספרים של עמוס עוז"),
    "hi": ("दिल्ली से मुंबई की ट्रेन", "लता मंगेशकर के गाने"),
    "bn": ("ঢাকা থেকে চট্টগ্রাম", "সত্যজিৎ রায়ের ছবি"),
    "ta": ("சென்னை வானிலை", "ரஜினிகாந்த் படங்கள்"),
    "zh": ("上海到北京的高铁", "鲁迅的小说"),
    "ja": ("京都のホテル", "夏目漱石の小説"),
    "ko": ("부산 날씨", "한강 소설 추천"),
    "th": ("โรงแรมในเชียงใหม่", "สนามบินสุวรรณภูมิ"),
    "sw": ("hoteli za Mombasa", "vitabu vya Ngugi wa Thiong'o"),
    "tr": ("İzmir uçak bileti", "Orhan Pamuk kitapları"),
    "vi": ("khách sạn Đà Nẵng", "bài hát của Trịnh Công Sơn"),
}

SENTENCES: dict[str, tuple[str, ...]] = {
    "en": (
        "Angela Merkel visited the Siemens works in Munich on a rainy Tuesday.",
        "The harbour of Rotterdam handled more containers last year than Hamburg and Antwerp had expected.",
        "After two seasons with Arsenal, Thierry moved back to Paris and opened a small bakery.",
        "Nobody at the meeting wanted to say how long the repairs would take.",
        "Researchers from Stanford University and the Max Planck Society compared notes in Geneva.",
    ),
    "de": (
        "Am Montag traf Olaf Scholz in Leipzig die Leitung der Deutschen Bahn.",
        "Die Universität Heidelberg lädt im Herbst zu einer Tagung über den Neckar ein.",
        "Frau Yılmaz zog von Bremen nach Wien, weil Bosch ihr dort eine Stelle anbot.",
        "Der Regen hörte erst gegen Mitternacht auf, und alle gingen nach Hause.",
    ),
    "fr": (
        "Le maire de Marseille a reçu les ingénieurs d'Airbus à l'hôtel de ville.",
        "Victor Hugo a passé de longues années à Guernesey, loin de Paris.",
        "La Banque de France publiera jeudi son enquête sur les commerces de Bretagne.",
        "Il faudra revenir demain, dit-elle en fermant la porte.",
    ),
    "es": (
        "Gabriel García Márquez vivió muchos años en Ciudad de México.",
        "El Banco de España abrirá una nueva oficina en Sevilla el próximo otoño.",
        "Carmen viajó desde Valparaíso hasta Lima para trabajar con Telefónica.",
        "Nadie sabía cuánto tiempo iba a durar la tormenta.",
    ),
    "pt": (
        "A Petrobras anunciou no Rio de Janeiro um acordo com a Universidade de Coimbra.",
        "Fernando Pessoa nasceu em Lisboa e passou a infância em Durban.",
        "O trem chegou atrasado, mas ninguém reclamou.",
    ),
    "it": (
        "Umberto Eco insegnava a Bologna e scriveva spesso per La Repubblica.",
        "La Fiat aprì una fabbrica vicino a Torino molto prima della guerra.",
        "Domani pioverà, quindi portate un ombrello.",
    ),
    "ru": (
        "Сергей Королёв работал под Москвой, а запускали ракеты из Байконура.",
        "Компания Яндекс открыла новый офис в Казани рядом с университетом.",
        "Анна Петрова переехала из Томска в Санкт-Петербург прошлой весной.",
        "Никто не знал, когда починят мост.",
    ),
    "uk": (
        "Олена Коваль закінчила Київський політехнічний інститут і повернулася до Полтави.",
        "Потяг із Харкова до Одеси запізнився на дві години.",
    ),
    "el": (
        "Ο Νίκος Καζαντζάκης γεννήθηκε στο Ηράκλειο της Κρήτης.",
        "Η Εθνική Τράπεζα της Ελλάδος άνοιξε γραφείο στη Λάρισα.",
        "Κανείς δεν ήξερε πότε θα σταματήσει η βροχή.",
    ),
    "ar": (
        "زارت فيروز مدينة بيروت قبل أن تسافر إلى دمشق.",
        "أعلنت شركة أرامكو السعودية عن مشروع جديد في مدينة جدة.",
        "درس طه حسين في جامعة القاهرة ثم سافر إلى باريس.",
        "لم يعرف أحد متى ستنتهي العاصفة.",
    ),
    "fa": (
        "مریم میرزاخانی در تهران به دنیا آمد و در دانشگاه استنفورد درس می‌داد.",
        "ایران خودرو کارخانهٔ تازه‌ای در نزدیکی تبریز ساخت.",
        "هیچ‌کس نمی‌دانست باران کی بند می‌آید.",
    ),
    "he": (
        "גולדה מאיר נולדה בקייב ועברה לתל אביב.",
        "חברת אינטל פתחה מפעל חדש בקריית גת.",
        "אף אחד לא ידע מתי ייגמר הגשם.",
    ),
    "hi": (
        "रवींद्रनाथ टैगोर का जन्म कोलकाता में हुआ था।",
        "टाटा स्टील ने जमशेदपुर में एक नया अस्पताल बनाया।",
        "सुनीता शर्मा पिछले साल जयपुर से बेंगलुरु चली गईं।",
        "किसी को नहीं पता था कि बारिश कब रुकेगी।",
    ),
    "bn": (
        "কাজী নজরুল ইসলাম শেষ জীবন ঢাকায় কাটিয়েছেন।",
        "গ্রামীণ ব্যাংক রাজশাহীতে একটি নতুন শাখা খুলেছে।",
        "কেউ জানত না বৃষ্টি কখন থামবে।",
    ),
    "ta": (
        "அப்துல் கலாம் இராமேசுவரத்தில் பிறந்தார்.",
        "இந்திய ரிசர்வ் வங்கி மதுரையில் புதிய கிளையைத் திறந்தது.",
        "மழை எப்போது நிற்கும் என்று யாருக்கும் தெரியவில்லை.",
    ),
    "zh": (
        "屠呦呦在北京大学学习药学，后来到中国中医科学院工作。",
        "华为公司去年在东莞建了一个新的研究中心。",
        "王小波从昆明回到北京以后开始写小说。",
        "没有人知道雨什么时候会停。",
    ),
    "ja": (
        "宮崎駿は東京で生まれ、のちにスタジオジブリを設立した。",
        "トヨタ自動車は福岡県に新しい工場を建てると発表した。",
        "田中さんは去年、札幌から大阪へ引っ越した。",
        "雨がいつ止むのか誰にも分からなかった。",
    ),
    "ko": (
        "김연아는 군포에서 자라 밴쿠버에서 금메달을 땄다.",
        "삼성전자는 내년에 수원에 새 연구소를 열 계획이다.",
        "비가 언제 그칠지 아무도 몰랐다.",
    ),
    "th": (
        "ป๋วย อึ๊งภากรณ์เคยเป็นอธิการบดีมหาวิทยาลัยธรรมศาสตร์",
        "ธนาคารกสิกรไทยเปิดสาขาใหม่ที่จังหวัดขอนแก่น",
        "สมชายย้ายจากกรุงเทพมหานครไปอยู่ที่เชียงราย",
        "ไม่มีใครรู้ว่าฝนจะหยุดเมื่อไร",
    ),
    "sw": (
        "Wangari Maathai alizaliwa Nyeri na alisoma katika Chuo Kikuu cha Nairobi.",
        "Benki ya CRDB ilifungua tawi jipya mjini Dodoma mwezi uliopita.",
        "Hakuna aliyejua mvua itaacha lini.",
    ),
    "tr": (
        "Yaşar Kemal Adana'da büyüdü ve İstanbul'da gazetecilik yaptı.",
        "Türk Hava Yolları Ankara ile Saraybosna arasında yeni seferler başlattı.",
        "Yağmurun ne zaman duracağını kimse bilmiyordu.",
    ),
    "vi": (
        "Nguyễn Du sinh ra ở Thăng Long và viết truyện thơ bằng chữ Nôm.",
        "Tập đoàn Viettel mở trung tâm mới tại Cần Thơ.",
        "Không ai biết khi nào trời tạnh mưa.",
    ),
}

# Share of requests of each kind; a page is 8 to 40 sentences, a bulk request 4 to 32 texts.
MIX: dict[str, float] = {"short": 0.35, "sentence": 0.45, "page": 0.12, "bulk": 0.08}


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the mix: its kind, the body's `text` or `texts`, and the texts in order."""

    kind: str
    texts: tuple[str, ...]

    def body(self, model: str) -> dict[str, Any]:
        """The JSON body of POST /ner."""
        if self.kind == "bulk":
            return {"texts": list(self.texts), "model": model}
        return {"text": self.texts[0], "model": model}


def words(text: str) -> int:
    """Words in a text: runs between spaces, and in scripts written without spaces one word for two characters."""
    unspaced = sum(map(is_unspaced, text))
    spaced = "".join(" " if is_unspaced(char) else char for char in text)
    return len(spaced.split()) + (unspaced + 1) // 2


def page(language: str, sentences: int, rng: random.Random) -> str:
    """A page in one language: so many sentences, in paragraphs of five."""
    glue = "" if language in ("zh", "ja") else " "
    chosen = [rng.choice(SENTENCES[language]) for _ in range(sentences)]
    return "\n\n".join(glue.join(chosen[at : at + 5]) for at in range(0, sentences, 5))


def draw(kind: str, rng: random.Random) -> Request:
    """A request of a kind, in a language that the generator chooses."""
    language = rng.choice(sorted(SENTENCES))
    if kind == "short":
        return Request(kind, (rng.choice(QUERIES[language]),))
    if kind == "sentence":
        return Request(kind, (rng.choice(SENTENCES[language]),))
    if kind == "page":
        return Request(kind, (page(language, rng.randint(8, 40), rng),))
    languages = [rng.choice(sorted(SENTENCES)) for _ in range(rng.randint(4, 32))]
    return Request(kind, tuple(rng.choice(SENTENCES[name] + QUERIES[name]) for name in languages))


def mixture(count: int, rng: random.Random) -> list[Request]:
    """So many requests in the shares of MIX, as exactly as whole numbers allow, in random order.

    Shares left to chance would make one step's texts heavier than another's.
    """
    kinds: list[str] = []
    due = 0.0
    for kind, share in MIX.items():
        due += share * count
        kinds += [kind] * (round(due) - len(kinds))
    rng.shuffle(kinds)
    return [draw(kind, rng) for kind in kinds]


def endless(rng: random.Random) -> Iterator[Request]:
    """Requests without end, each hundred in the shares of MIX."""
    while True:
        yield from mixture(100, rng)

"""The texts of the benchmark: sentences with names in them, written for it, and drawn with a seed.

About twelve words each, in twelve languages of eight scripts. Names are drawn into them, so that thousands of sentences
differ and no cache of words or answers decides what is measured.
"""

from __future__ import annotations

import random

LATIN: dict[str, tuple[str, ...]] = {
    "person": (
        "Marie Keller", "Jonas Lindqvist", "Inês Tavares", "Owen Brady", "Giulia Moretti", "Tomasz Zieliński",
        "Aylin Kaya", "Hugo Lambert", "Nora Szabó", "Daniel Okafor",
    ),
    "place": (
        "Oslo", "Lisbon", "Graz", "Nairobi", "Valparaíso", "Leipzig", "Toulouse", "Gdańsk", "Bologna", "Wellington",
    ),
    "org": (
        "Siemens", "Michelin", "Red Cross", "Ericsson", "Fincantieri", "Petrobras", "Nokia", "Zeiss", "Benfica",
        "Unilever",
    ),
}  # fmt: skip
NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "latin": LATIN,
    "cyrillic": {
        "person": ("Илья Громов", "Ольга Бондарь", "Пётр Савельев", "Вера Лунина", "Тимур Асанов", "Нина Орлова"),
        "place": ("Казань", "Тбилиси", "Томск", "Одесса", "Пермь", "Самара"),
        "org": ("Яндекс", "Газпром", "Аэрофлот", "Сбербанк", "Ростелеком", "Лукойл"),
    },
    "greek": {
        "person": ("Ελένη Μαυρίδη", "Νίκος Παππάς", "Μαρία Κωστοπούλου", "Γιώργος Δήμας"),
        "place": ("Θεσσαλονίκη", "Πάτρα", "Λάρισα", "Βιέννη"),
        "org": ("Εθνική Τράπεζα", "Ολυμπιακός", "Αττική Οδός", "Παναθηναϊκός"),
    },
    "arabic": {
        "person": ("ليلى حداد", "سامي منصور", "نادية الخطيب", "عمر السيد"),
        "place": ("بيروت", "عمان", "الدوحة", "القاهرة"),
        "org": ("أرامكو", "الخطوط السعودية", "جامعة القاهرة", "بنك مصر"),
    },
    "devanagari": {
        "person": ("अनिता वर्मा", "रमेश शर्मा", "सुनीता जोशी", "विकास मेहता"),
        "place": ("जयपुर", "पुणे", "कोलकाता", "भोपाल"),
        "org": ("टाटा स्टील", "इन्फोसिस", "भारतीय रेल", "स्टेट बैंक"),
    },
    "han": {
        "person": ("王芳", "李建国", "陈思远", "赵小梅", "周立新", "林雨桐"),
        "place": ("成都", "青岛", "昆明", "西安", "广州", "南京"),
        "org": ("海尔公司", "华为公司", "北京大学", "中国银行", "腾讯公司", "复旦大学"),
    },
    "hangul": {
        "person": ("김민수", "박지영", "이수진", "최동현"),
        "place": ("대전", "부산", "광주", "인천"),
        "org": ("삼성전자", "현대자동차", "서울대학교", "대한항공"),
    },
    "bengali": {
        "person": ("রফিক হাসান", "শামীমা আক্তার", "অনির্বাণ সেন", "তানভীর আহমেদ"),
        "place": ("ঢাকা", "রাজশাহী", "চট্টগ্রাম", "সিলেট"),
        "org": ("গ্রামীণ ব্যাংক", "বাংলাদেশ বিমান", "ঢাকা বিশ্ববিদ্যালয়", "রবি"),
    },
}
# (script of the names, sentence); a page is written in one script.
SENTENCES: tuple[tuple[str, str], ...] = (
    ("latin", "Last spring {person} left {org} in {place} to teach physics at a school."),
    ("latin", "The ferry from {place} was late again, so {person} missed the {org} meeting."),
    ("latin", "Nobody in {place} knew why the lights had gone out at {org} yesterday."),
    ("latin", "According to {person}, the new bridge near {place} will not open before next summer."),
    ("latin", "Im Herbst eröffnet {org} in {place} ein neues Museum, sagte {person} am Montag."),
    ("latin", "Nach dem Regen fuhr {person} mit dem Zug nach {place} und las dabei."),
    ("latin", "Le directeur de {org}, {person}, prêtera trois tableaux à la ville de {place}."),
    ("latin", "Hier {person} a quitté {org} pour ouvrir une petite librairie près de {place}."),
    ("latin", "La orquesta de {place} tocará mañana en el teatro de {org} con {person}."),
    ("latin", "El tren de {place} salió tarde porque {person} había perdido todas las llaves."),
    ("latin", "Il sindaco di {place} ha incontrato {person} e i tecnici di {org} al porto."),
    ("latin", "De burgemeester van {place} bezocht gisteren met {person} de nieuwe fabriek van {org}."),
    ("latin", "Geçen yaz {person} {place} şehrine taşındı ve {org} için çalışmaya başladı."),
    ("latin", "A equipa de {org} treina amanhã em {place} sem o guarda-redes {person}."),
    ("cyrillic", "Прошлой весной {person} покинул город {place} и теперь работает в компании {org}."),
    ("cyrillic", "Компания {org} открыла новый офис в городе {place}, сообщила вчера {person}."),
    ("greek", "Η {person} ταξίδεψε από την πόλη {place} για ένα συνέδριο της εταιρείας {org}."),
    ("arabic", "سافرت المهندسة {person} من مدينة {place} في الصيف للعمل في شركة {org}."),
    ("devanagari", "पिछले साल {person} शहर {place} चली गईं और वहाँ {org} में काम करने लगीं।"),
    ("han", "去年{person}从{place}搬走，现在在{org}做工程师。"),
    ("han", "{person}昨天在{place}参观了{org}的新研究中心。"),
    ("hangul", "{person} 씨는 지난해 {place} 지역으로 이사해 {org} 연구소에서 일하고 있다."),
    ("bengali", "গত বছর {person} {place} শহরে এসে {org} অফিসে নতুন কাজ শুরু করেছেন।"),
)


def sentence(rng: random.Random, script: str | None = None) -> str:
    """A sentence of about twelve words, in any script or in this one."""
    choices = SENTENCES if script is None else [entry for entry in SENTENCES if entry[0] == script]
    own, text = rng.choice(choices)
    return text.format(**{slot: rng.choice(names) for slot, names in NAMES[own].items()})


def long_text(rng: random.Random, words: int) -> str:
    """So many words of sentences between spaces, in paragraphs of five; the last sentence may be cut."""
    script = rng.choice([own for own, _ in SENTENCES if own != "han"])
    parts: list[str] = []
    left = words
    while left > 0:
        chosen = sentence(rng, script).split()[:left]
        left -= len(chosen)
        parts.append(" ".join(chosen))
    return "\n\n".join(" ".join(parts[at : at + 5]) for at in range(0, len(parts), 5))


def page(rng: random.Random, characters: int) -> str:
    """So many characters of sentences; the last one may be cut."""
    script = rng.choice(SENTENCES)[0]
    text = ""
    while len(text) < characters:
        text += sentence(rng, script) + " "
    return text[:characters]

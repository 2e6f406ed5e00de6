'use strict';
// Examples: what people can try, a sentence or two a language; `lang` is for the browser's choice of glyphs.

const EXAMPLES = [
  { name: 'English', lang: 'en', text: 'Angela Merkel visited Siemens in München before she met Emmanuel Macron in Paris.' },
  { name: 'Español', lang: 'es', text: 'Gabriel García Márquez nació en Aracataca, estudió en la Universidad Nacional de Colombia y murió en Ciudad de México.' },
  { name: 'Türkçe', lang: 'tr', text: 'Orhan Pamuk İstanbul’da doğdu ve Columbia Üniversitesi’nde ders verdi.' },
  { name: 'Tiếng Việt', lang: 'vi', text: 'Ngô Bảo Châu sinh ra tại Hà Nội và làm việc tại Đại học Chicago.' },
  { name: 'Русский', lang: 'ru', text: 'Юрий Гагарин родился в деревне Клушино, учился в Саратове и Оренбурге.' },
  { name: 'Ελληνικά', lang: 'el', text: 'Ο Νίκος Καζαντζάκης γεννήθηκε στο Ηράκλειο της Κρήτης και σπούδασε στο Πανεπιστήμιο Αθηνών.' },
  { name: 'العربية', lang: 'ar', text: 'ولد نجيب محفوظ في القاهرة سنة 1911 ودرس الفلسفة في جامعة القاهرة.' },
  { name: 'فارسی', lang: 'fa', text: 'صادق هدایت در تهران به دنیا آمد و در پاریس درگذشت.' },
  { name: 'اردو', lang: 'ur', text: 'محمد علی جناح کراچی میں پیدا ہوئے اور انہوں نے لندن میں تعلیم حاصل کی۔' },
  { name: 'עברית', lang: 'he', text: 'חיים ויצמן היה הנשיא הראשון של מדינת ישראל ועמד בראש מכון ויצמן ברחובות.' },
  { name: 'हिन्दी', lang: 'hi', text: 'महात्मा गांधी का जन्म पोरबंदर में हुआ और उन्होंने लंदन में कानून की पढ़ाई की।' },
  { name: 'বাংলা', lang: 'bn', text: 'রবীন্দ্রনাথ ঠাকুর কলকাতায় জন্মগ্রহণ করেন এবং শান্তিনিকেতনে বিশ্বভারতী বিশ্ববিদ্যালয় প্রতিষ্ঠা করেন।' },
  { name: 'தமிழ்', lang: 'ta', text: 'சுப்பிரமணிய பாரதி தமிழ்நாட்டின் எட்டயபுரம் நகரில் பிறந்தார்.' },
  { name: 'తెలుగు', lang: 'te', text: 'పి. వి. నరసింహారావు తెలంగాణ లోని వరంగల్ జిల్లాలో జన్మించాడు.' },
  { name: 'മലയാളം', lang: 'ml', text: 'എം. ടി. വാസുദേവൻ നായർ കേരളത്തിലെ കൂടല്ലൂർ ഗ്രാമത്തിൽ ജനിച്ചു.' },
  { name: '中文', lang: 'zh', text: '鲁迅出生于浙江绍兴，曾在北京大学任教，后来定居上海。' },
  { name: '日本語', lang: 'ja', text: '夏目漱石は東京で生まれ、東京大学で英文学を学び、ロンドンに留学した。' },
  { name: '한국어', lang: 'ko', text: '김대중 대통령은 전라남도 신안군에서 태어났으며 2000년 평양에서 김정일을 만났다.' },
  {
    name: 'Mixed', lang: '',
    text: '🎉 Barack Obama spoke at the United Nations in New York.\nالتقى باراك أوباما رئيس شركة Microsoft في القاهرة.\n' +
      'バラク・オバマは広島を訪れた。',
  },
];

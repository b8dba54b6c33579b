"""Short paragraphs in several languages, written for this project: surroundings to ask in."""

from __future__ import annotations

PARAGRAPHS = (
    "Am Morgen lag noch Nebel über dem Hafen, und die Fähre hatte eine halbe Stunde Verspätung. Auf"
    " der Bank neben dem Kiosk saßen zwei alte Männer und stritten über Fußball.",
    "Le marché ouvre à sept heures, mais les meilleures tomates sont déjà parties à huit heures. La"
    " boulangère connaît tout le monde et ne se trompe jamais de monnaie.",
    "Después de la lluvia, los niños bajaron a la plaza con una pelota nueva. Una vecina les gritó"
    " desde el balcón que tuvieran cuidado con los cristales.",
    "Il treno per il mare era pieno di ombrelloni e di cani addormentati. Nessuno parlava, tranne"
    " il controllore, che raccontava la sua vacanza in montagna.",
    "Ottobüste yer yoktu, ama şoför herkesi tanıyordu ve kimseyi durakta bırakmadı. Yol uzundu;"
    " pencereden zeytin ağaçları ve küçük köyler geçti.",
    "Zimą jezioro zamarza, a dzieci jeżdżą na łyżwach aż do zmroku. W domu czeka na nie gorąca zupa"
    " i suche skarpety.",
    "Утром на рынке было холодно, и продавцы грели руки над маленькой печкой. К обеду выглянуло"
    " солнце, и площадь наполнилась людьми.",
    "Το καράβι έφυγε αργά το βράδυ και το λιμάνι έμεινε ήσυχο. Μόνο ένας ψαράς διόρθωνε τα δίχτυα"
    " του κάτω από τη λάμπα.",
    "早上公园里有很多人打太极拳，湖边的柳树刚刚发芽。卖豆浆的老人说，今年的春天来得比去年早。",
    "駅前の小さな本屋は、夜の九時まで開いています。雨の日には、店の猫が入口で静かに眠っています。",
    "في الصباح يفتح الخباز نافذته الصغيرة، فتملأ رائحة الخبز الشارع كله. يقف الأطفال في الصف قبل"
    " أن يذهبوا إلى المدرسة.",
    "शाम को नदी के किनारे हवा ठंडी हो जाती है और लोग टहलने निकलते हैं। एक बूढ़ा आदमी रोज़ उसी पेड़ के"
    " नीचे बैठकर बाँसुरी बजाता है।",
)

CHAT = (
    ("How long should I boil an egg?", "About seven minutes for a soft yolk, ten for a firm one."),
    (
        "Can you suggest a name for a sailing boat?",
        "How about Northern Wren, or simply Patience? Short names are easier to say on the radio.",
    ),
    (
        "Explain what a prime number is, please.",
        "A prime number is larger than one and can be divided only by one and by itself.",
    ),
    (
        "My fern has brown leaves. What can I do?",
        "Give it more shade and keep the soil damp. Cut off the brown leaves near the ground.",
    ),
    (
        "Write two lines about autumn.",
        "The orchard lets its colours go,\nand geese are drawing lines on snow.",
    ),
    (
        "Which is heavier, a kilo of iron or a kilo of wool?",
        "Neither: both weigh a kilo. The wool only takes up more room.",
    ),
    (
        "What should I pack for three days of hiking?",
        "Good boots, a rain jacket, two pairs of dry socks, a map, water, and something sweet.",
    ),
    (
        "How do I remove a red wine stain?",
        "Put salt on it at once, rinse with cold water, and wash it as usual afterwards.",
    ),
)
"""Questions and answers about nothing in particular."""

"""Mixed texts, the same in every run: many scripts, code, emoji, control characters, white space, special tokens."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEAST = 10_000

_SENTENCES = """
The quick brown fox doesn't jump over 13 lazy dogs,
and they'll never know I'd've tried; we're WE'RE it's IT'S O'Neill's.
Über den Wolken muß die Freiheit wohl grenzenlos sein – „sagte“ er für 3,50 €. Straße STRASSE ẞ ß
L'été dernier, où étais-tu ? J'ai mangé des œufs à 8h30, ça m'a coûté 12,99 €.
El niño pingüino comió 1.000 jalapeños; ¿qué? ¡No! São Paulo, coração, ação.
Zażółć gęślą jaźń. Příliš žluťoučký kůň úpěl ďábelské ódy. Árvíztűrő tükörfúrógép.
İstanbul'da ılık bir gün, I ve i, İ ve ı. Đây là tiếng Việt: Nguyễn Thị Hương ở Đà Nẵng.
Съешь же ещё этих мягких французских булок, да выпей чаю. Привет, мир! Їжак і ґанок.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Ὦ ἄνδρες Ἀθηναῖοι, ΣΊΣΥΦΟΣ σίσυφος
שלום עולם, בְּרֵאשִׁית בָּרָא אֱלֹהִים. العربية: ٱلسَّلَامُ عَلَيْكُمْ ٣٤٥ و ۱۲۳ فارسی می‌خواهم
हिन्दी में एक वाक्य है, जिसमें १२३ अंक हैं। क्षत्रिय বাংলা ভাষা ১২৩ தமிழ் மொழி తెలుగు ಕನ್ನಡ മലയാളം
ภาษาไทยไม่มีช่องว่างระหว่างคำ ๑๒๓ ພາສາລາວ မြန်မာဘာသာ ខ្មែរ ქართული ენა Հայերեն ትግርኛ አማርኛ
日本語のテキストです。カタカナ、ひらがな、漢字！ﾊﾝｶｸ ｶﾞ ＡＢＣ１２３ ㍿ ㌔
我能吞下玻璃而不伤身体。繁體中文，「引號」，2024年3月15日。
나는 유리를 먹을 수 있어요. 그래도 아프지 않아요. 한글 자모 ㄱㄴㄷ \u1112\u1161\u11ab
ᚠᛇᚻ᛫ᛒᛦᚦ ꜰᴜɴɴʏ 𝔉𝔯𝔞𝔨𝔱𝔲𝔯 𝕒𝕓𝕔 𝟙𝟚𝟛 ⅷ Ⅷ ½ ² ₃ ① ⑫ ﬁ ﬂ ǆ ǅ ﷺ ﷽ № ℃ K Å ſ
∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β ≡ ∫₀^∞ e^{−x²} dx ≈ √π⁄2; 3×10⁻⁸ m·s⁻¹ → ≠ ± ¼ £100 ¥5 ₿1
👩‍👩‍👧‍👦 🎉🎊 🇩🇪🇫🇷🇺 👍🏽 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️ ❤ ☺️ 1️⃣ 🧑🏿‍🚀 🫠 ©™
e\u0301 u\u0308 n\u0303 o\u0302\u0323 \u1e69 s\u0323\u0307 s\u0307\u0323
a\u0300\u0301\u0302\u0303\u0304 Z\u0351\u036b\u0343a\u0334l\u0340g\u0321o\u0489
<s>user</s> <unk> <think> a  b </think> [INST] hello [/INST] <|im_start|>user⏎Hi<|im_end|>⏎<|endoftext|>
<think> <|end|>  x <mask> y<mask>
<|begin_of_text|><|start_header_id|>user<|end_header_id|>⏎⏎What?<|eot_id|>
word sword words word, café cafe\u0301 <|im_end| >
<0x41> is text here, <0x0A> too, and so is ▁ alone ▁▁ Ġ Ċ âĢĻ \ufffd \ufeff
http://user:pa%20ss@example.com:8080/a/b_c?d=e&f=1.5e-10#g mail@example.org
C:\\Users\\me /usr/lib64/x86_64 --flag=1 $HOME
def f(x: int = 0x1F) -> dict: return {'a': [1, 2.5e-3], "b": None}  # don't I'll we've DON'T
for (int i=0;i<n;++i) { a[i] += b[i]<<2 & ~0xFFu; } // TODO: i--; ??? !!! ... --- === ### $$$
SELECT * FROM "t" WHERE a<>b AND c LIKE '%x_' OR d IS NOT NULL; <div class="a">&amp;&#x27;</div>
camelCaseWords HTTPServerError snake_case_words SCREAMING_CASE kebab-case-words XMLHttpRequest2Go iOS18 macOS15
\x1b[31mred\x1b[0m \x00\x01\x02\x07\x08\x0b\x0c\x7f\x80\x85\x9f
\u00a0nbsp\u00ad\u200b\u200c\u200d\u200e\u2028\u2029\u2060\u3000end
1234567890 12 345 6789 1,234,567.89 3.14159 0b1010 1e10 -5 +7 ٣٤٥ १२३ 一二三 ００１
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bananananananas hahahahahaha ............ ------------ ============ !?!?!?!?
"""
SENTENCES = [line.strip().replace("⏎", "\n") for line in _SENTENCES.strip().split("\n")]

SPACES = [
    " ", "  ", "   ", "    ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r",
    " \n", "\n ", "\u00a0", "\u2003", "\u3000", "\x0b", "\x85", "\u2028",
]  # fmt: skip
SPECIAL = [
    "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|begin_of_text|>",
    "<think>", "[INST]", "<|end|>", "<mask>", "word", "caf\u00e9", "cafe\u0301", "<|im_start|>user\n", "'s", "'LL",
    "\u2019s", "'\u017f",
]  # fmt: skip
# Blocks from which single characters are drawn, in addition to all others.
BLOCKS = [
    (0x00, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0xEFF),
    (0x1100, 0x11FF), (0x1E00, 0x20CF), (0x2100, 0x27BF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0xF900, 0xFFEF), (0x1D400, 0x1D7FF), (0x1F1E6, 0x1F1FF), (0x1F300, 0x1FAFF),
    (0xE0020, 0xE007F), (0x20000, 0x2A6DF),
]  # fmt: skip


def training() -> list[str]:
    """Returns the training text of the vocabularies: prose, code, and the sentences above."""
    prose = (ROOT / "edgesw" / "text" / "data" / "calibration.txt").read_text(encoding="utf-8").split("\n")
    return [*prose[:1500], *_code()[:3000], *SENTENCES * 4]


def lines() -> list[str]:
    """Returns at least LEAST texts; a text may contain line breaks."""
    rng = random.Random(0)
    prose = (ROOT / "edgesw" / "text" / "data" / "validation.txt").read_text(encoding="utf-8").split("\n")
    made = [*SENTENCES, *_code()[:3500], *prose[:500], "", " ", "\n", *SPACES, *SPECIAL]
    made += [_mixture(rng) for _ in range(2500)]
    made += [_cut(rng) for _ in range(1500)]
    made += [_characters(rng) for _ in range(1500)]
    made += [_spaced(rng) for _ in range(700)]
    made += _every_character()
    made += _long(rng)
    assert len(made) >= LEAST, len(made)
    return made


def _code() -> list[str]:
    """Returns lines of the repository's own source files."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    names = listed.stdout.split() if listed.returncode == 0 else []
    paths = [ROOT / name for name in names] or sorted(ROOT.glob("edgesw/**/*.py"))
    kinds = {".py", ".md", ".swift", ".toml", ".sh", ".yml"}
    texts = [path.read_text(encoding="utf-8") for path in paths if path.suffix in kinds and path.is_file()]
    found = [line for text in texts for line in text.split("\n") if line.strip()]
    return random.Random(3).sample(found, min(len(found), 6500))


def _word(rng: random.Random) -> str:
    sentence = rng.choice(SENTENCES)
    return rng.choice([rng.choice(sentence.split() or ["x"]), rng.choice(SPECIAL), rng.choice(sentence)])


def _mixture(rng: random.Random) -> str:
    """Returns words of all scripts, with and without spaces between them."""
    parts = []
    for _ in range(rng.randrange(1, 16)):
        parts += [_word(rng), rng.choice([" ", " ", " ", "", rng.choice(SPACES)])]
    return "".join(parts)


def _cut(rng: random.Random) -> str:
    """Returns two sentences cut anywhere, even within characters of several code points, and joined."""
    one, other = rng.choice(SENTENCES), rng.choice(SENTENCES)
    return one[rng.randrange(len(one)) :] + other[: rng.randrange(len(other))]


def _character(rng: random.Random) -> str:
    if rng.random() < 0.1:
        code = rng.randrange(0x110000 - 0x800)
        return chr(code if code < 0xD800 else code + 0x800)
    return chr(rng.randint(*rng.choice(BLOCKS)))


def _characters(rng: random.Random) -> str:
    return "".join(_character(rng) for _ in range(rng.randrange(1, 24)))


def _spaced(rng: random.Random) -> str:
    """Returns runs of white space, with some letters between them."""
    runs = (
        rng.choice(SPACES) * rng.randrange(1, 12) + rng.choice(["", "", "x", "1", ".", "é", "<mask>"]) for _ in range(8)
    )
    return "".join(runs)


def _every_character() -> list[str]:
    """Returns every character below U+3400 and of the other assigned blocks, 64 per line, with letters between them."""
    blocks = [
        (0, 0x33FF),
        (0xA000, 0xABFF),
        (0xF900, 0xFFFF),
        (0x10000, 0x12FFF),
        (0x16800, 0x18DFF),
        (0x1B000, 0x1FBFF),
    ]
    starts = (start for first, last in blocks for start in range(first, last + 1, 64))
    return ["a".join(map(chr, range(start, start + 64))) for start in starts]


def _long(rng: random.Random) -> list[str]:
    """Returns lines and words so long that a quadratic algorithm would be noticed."""
    return [
        "a" * 20_000, "ab" * 20_000, " " * 5_000 + "x", "\n" * 5_000, "1" * 10_000, "!" * 10_000, "漢" * 10_000,
        "👍🏽" * 5_000,
        "e\u0301" * 5_000, "abcdefghij" * 3_000, "the " * 5_000, "".join(_mixture(rng) for _ in range(300)),
        "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(30_000)), "\u0301" * 3_000,
        "<mask>" * 2_000,
    ]  # fmt: skip

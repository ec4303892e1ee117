"""What seeded people are called and say: many scripts, and names that break careless code."""

from __future__ import annotations

PEOPLE: tuple[tuple[str, str], ...] = (
    ("Asha", "Rao"),
    ("Jonas", "Weber"),
    ("María", "García Núñez"),
    ("小林", "結衣"),
    ("../../etc/passwd", ""),
    ("ليلى", "حداد"),
    ("Eve\n\u0000<b>", '"; DROP TABLE users; --'),
    ("Ngozi", "Okafor"),
    ("Łukasz", "Żółć"),
    ("דנה", "לוי"),
    ("Ольга", "Смирнова"),
    ("Zoë", "O\u2019Brien-Smith"),
    ("김", "민준"),
    ("Siobhán", "Ní Bhriain"),
    ("प्रिया", "शर्मा"),
    ("Tom", ""),
)

# Name, purpose, private.
CHANNELS: tuple[tuple[str, str, bool], ...] = (
    ("general", "For everybody", False),
    ("engineering", "Builds, reviews and incidents", True),
    ("sales", "Deals under way", True),
    ("../../etc/passwd", "A name that is no path", False),
    ("café\n\u0000 <b>plans</b> ☕", "A name with a line break, a NUL and markup", False),
    ("تصميم", "Design", True),
    ("release-notes", "", False),
    ("CON", "A name that Windows keeps for itself", False),
)

RENAMED = "general-2 (formerly “general”)"

PLAIN: tuple[str, ...] = (
    "Good morning!",
    "The build is green again.",
    "Can somebody review the contract before noon?",
    "I moved the meeting to half past three.",
    "Numbers for last quarter are in the sheet.",
    "Who is on call tonight?",
    "That worked, thank you.",
    "Please do not forward this outside the team.",
    "The client asked for two more weeks.",
    "Lunch?",
    "I will be late, the train stands still.",
    "Shipping 2.4.1 now, watch the dashboards.",
    "Das Protokoll liegt jetzt im Ordner.",
    "¿Alguien tiene el número de pedido?",
    "議事録を共有しました。",
    "отчёт готов, проверьте, пожалуйста",
    "  leading and trailing blanks are part of what was said  ",
    "tabs\tand\nline\r\nbreaks stay",
    "-- 100 % of `rm -rf /` jokes are bad & <b>not</b> bold; see https://example.com/?a=1&b=2#c",
)

EMOJI: tuple[str, ...] = (
    "👍",
    "🎉🎉🎉 done!",
    "👩‍👩‍👧‍👦 family day is on Friday 🏳️‍🌈",
    "thumbs 👍🏽 and flags 🇮🇳🇩🇪",
    ":smile: as a short code, ☺︎ as text, ☺️ as picture",
    "zalgo: ḧ̷̡̰́e̶͚̓ ̵͓̈́c̷̣̈o̸̦͝m̶̧͋e̷͓̍s̴̰̄",
)

RIGHT_TO_LEFT: tuple[str, ...] = (
    "صباح الخير، هل وصلت الفاتورة؟",
    "הפגישה נדחתה ליום שלישי ב-10:30",
    "mixed: the file \u202egpj.tnemucod\u202c is not what it seems",
    "\u200fשבת\u200e (ltr) טבה",
)

HOSTILE: tuple[str, ...] = (
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "'; DROP TABLE messages; --",
    '=HYPERLINK("http://example.com","click")',
    "\u0000\u0001\u0007\u001b[31mred\u001b[0m\u007f",
    "{{7*7}} ${jndi:ldap://127.0.0.1/a} %s %n",
    "\ufeffbyte order mark first, \u2028line separator, \u2029paragraph separator",
    "null",
    '{"text": "JSON in JSON"}',
    "\U0001f600 and U+10FFFF \U0010ffff and U+FFFF \uffff",
)

FILE_NAMES: tuple[tuple[str, str], ...] = (
    ("figures.png", "image/png"),
    ("contract final (2).pdf", "application/pdf"),
    ("notes.txt", "text/plain"),
    ("../../../../tmp/evil.sh", "application/x-sh"),
    ("image.png", "image/png"),
    ("報告書.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("line\nbreak\u0000.csv", "text/csv"),
    ("invoice\u202efdp.exe", "application/octet-stream"),
    ("x" * 300 + ".bin", "application/octet-stream"),
    ("", ""),
)

# Bytes, with the edges of what programs read at once.
FILE_SIZES: tuple[int, ...] = (4_096, 65_537, 1, 700, 65_536, 0, 200_000)

# Where a message can point that is no file host: nothing may be fetched from there.
TRAP_URLS: tuple[str, ...] = (
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "file:///etc/passwd",
    "http://[::1]:22/",
    "https://files.invalid/trap",
    "not a url at all",
)

LONG_TEXT_CHARACTERS = 40_000

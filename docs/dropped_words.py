"""Which source words does a system drop?  python dropped_words.py FORMAT FILE SOURCE [TARGET]

pip install nmt
marian-decoder … --alignment soft < test.bpe > output      # or any other tool of docs/alignment.md
python dropped_words.py marian output test.bpe
"""

import sys
from collections import Counter

from nmt.formats import READERS

name, path, source, target = [*sys.argv[1:], None, None][:4]
style = {"marian": "@@", "ctranslate2": "sentencepiece"}.get(name, "words")  # how your system marks its pieces
dropped = Counter()
for number, alignment in enumerate(READERS[name].read(path, source, target), start=1):
    for span in alignment.to_words(style).dropped(below=0.2):
        dropped.update(span.words)
        print(f"{number}: {' '.join(span.words)}  ({span.coverage:.2f})")
print("most often:", ", ".join(f"{word} {count}" for word, count in dropped.most_common(10)))

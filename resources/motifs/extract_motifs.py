"""Extract the yeast motif matrices from the PyPI package pyjaspar (run once; its output is in the repository).

pip install pyjaspar==4.0.0 && python extract_motifs.py
"""

from pathlib import Path

from Bio import motifs
from pyjaspar import jaspardb

found = jaspardb(release="JASPAR2026").fetch_motifs(collection="CORE", species=["4932"], all_versions=False)
found.sort(key=lambda motif: motif.matrix_id)
text = motifs.write(found, "jaspar")
Path(__file__).with_name("jaspar2026_yeast.jaspar").write_text(text, encoding="utf-8")
print(f"{len(found)} matrices")

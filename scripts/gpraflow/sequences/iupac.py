"""IUPAC codes of DNA as sets of bases: 4 bits, A 1, C 2, G 4, T 8."""

IUPAC = {"A": 1, "C": 2, "G": 4, "T": 8, "R": 5, "Y": 10, "S": 6, "W": 9, "K": 12, "M": 3, "B": 14, "D": 13, "H": 11, "V": 7, "N": 15}
CODE_OF = {bits: letter for letter, bits in IUPAC.items()}

"""BLEU and chrF, by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["TranslationScores", "score_translations"]


@dataclass(frozen=True)
class TranslationScores:
    """How near translations come to references.

    Attributes:
        bleu: BLEU, from 0 to 100 (Papineni et al. 2002).
        chrf: chrF, from 0 to 100 (Popović 2015).
        signatures: What sacrebleu says of how it computed both.
    """

    bleu: float
    chrf: float
    signatures: tuple[str, str]


def score_translations(translations: Sequence[str], references: Sequence[str]) -> TranslationScores:
    """Score translations against one reference each, with sacrebleu's own tokenisation (13a) and case.

    Source: Post (2018), *A Call for Clarity in Reporting BLEU Scores*.

    Args:
        translations: Sentences.
        references: As many sentences.

    Raises:
        ImportError: If sacrebleu is not installed.
        ValueError: If the numbers differ or there are none.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise ImportError("scores of translations need sacrebleu: pip install hypersst[text].") from error
    if len(translations) != len(references) or not references:
        raise ValueError(
            f"`translations` must be one for each reference, got {len(translations)} for {len(references)}."
        )
    bleu, chrf = BLEU(), CHRF()
    found = [metric.corpus_score(list(translations), [list(references)]).score for metric in (bleu, chrf)]
    return TranslationScores(found[0], found[1], (str(bleu.get_signature()), str(chrf.get_signature())))

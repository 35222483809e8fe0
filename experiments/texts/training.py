"""Train on texts and score what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hypersst.experiments.checkpoint import check_same_run, load_checkpoint
from hypersst.experiments.processes import ALONE, Processes
from hypersst.experiments.records import Record, device_name, peak_memory, versions
from hypersst.experiments.texts.data import TextData, load_text_data
from hypersst.experiments.texts.run import TextRun, plain_state
from hypersst.experiments.texts.scores import score_translations
from hypersst.experiments.texts.settings import ResolvedTextSettings, TextSettings
from hypersst.experiments.texts.translation import translate
from hypersst.experiments.training import Report, bring_to_end, resolve_device
from hypersst.models.sequence import EncoderDecoder

__all__ = ["TrainedText", "train_text"]

_SECONDS_BETWEEN_CHECKPOINTS = 300.0


@dataclass(frozen=True, eq=False)
class TrainedText:
    """What training on texts gives.

    Attributes:
        record: Scores and settings.
        model: The network with plain weights.
        data: The texts and their tokenizer.
        signatures: What sacrebleu says of its scores; none of a language model.
    """

    record: Record
    model: nn.Module
    data: TextData
    signatures: tuple[str, ...]

    def state_dict(self) -> dict[str, Any]:
        """What `hypersst translate` and `hypersst generate` need: settings, tokenizer and weights."""
        return {
            "settings": self.record.settings,
            "tokenizer": self.data.tokenizer.state_dict(),
            "best_state": plain_state(self.model),
        }


def train_text(
    settings: TextSettings,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    resume: Path | None = None,
    report: Report | None = None,
    processes: Processes = ALONE,
) -> TrainedText:
    """Train one model on texts and score it on the test part.

    The caller's global random state is left as it was. Of several processes the first one writes the checkpoint and
    translates: the others' records are without the scores of translations.

    Args:
        settings: What to train; recipes fill what is ``None``.
        data_dir: Folder to look for data files in first.
        device: Where to train.
        checkpoint: File to keep the state in: at the start, now and then, and at the end; ``None`` for none.
        resume: Checkpoint to continue from; its settings must equal ``settings``.
        report: Called after each evaluation with the step, the loss and the validation perplexity.
        processes: Those that train this model together, each with its device.

    Returns:
        Record, model and data.

    Raises:
        ValueError: If a setting, the data or the checkpoint is bad.
        NonFiniteError: If training becomes non-finite; the checkpoint then holds the last good state.
        InterruptedRun: After an interrupt; the checkpoint holds the state at the end of that step.
    """
    resolved = settings.resolve()
    target = resolve_device(device)
    saved = load_checkpoint(resume) if resume else None
    if saved:
        check_same_run(saved["settings"], resolved.to_dict())
    data = load_text_data(resolved, data_dir, processes)
    with torch.random.fork_rng([target] if target.type == "cuda" else []):
        run = TextRun(resolved, data, target, processes)
        if saved:
            run.load_state_dict(saved)
        bring_to_end(run, checkpoint, report, save_every=_SECONDS_BETWEEN_CHECKPOINTS, processes=processes)
        model, perplexity = run.final()
        test, signatures = _test_scores(run, model)
    return TrainedText(_record(run, {"perplexity": perplexity}, test), model, data, signatures)


def _test_scores(run: TextRun, model: nn.Module) -> tuple[dict[str, float], tuple[str, ...]]:
    settings, data = run.settings, run.data
    found = {"perplexity": run.perplexity(model, data.test)}
    if not isinstance(model, EncoderDecoder) or not run.processes.first:
        return found, ()
    signatures: tuple[str, ...] = ()
    for i, (name, pairs) in enumerate(data.test_pairs.items()):
        translations = translate(
            model, data.tokenizer, pairs.source, beam=settings.beam, length_penalty=settings.length_penalty
        )
        scores = score_translations(translations, pairs.target)
        ending = f"_{name}" if i else ""  # the first set's perplexity has no ending either
        found |= {f"bleu{ending}": scores.bleu, f"chrf{ending}": scores.chrf}
        signatures = scores.signatures
    return found, signatures


def _record(run: TextRun, validation: dict[str, float], test: dict[str, float]) -> Record:
    settings: ResolvedTextSettings = run.settings
    parameters = list(run.model.parameters())
    report = run.trainer.report
    spectral = settings.method == "sst" and report is not None
    return Record(
        settings=settings.to_dict(),
        versions=versions(),
        device=(f"{world} x " if (world := run.processes.world) > 1 else "") + device_name(run.device),
        threads=torch.get_num_threads(),
        data=run.data.description,
        validation=validation,
        test=test,
        best_epoch=run.best_step,
        epochs=run.steps,
        seconds=run.seconds,
        peak_memory=peak_memory(run.device),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        stored=report.stored if spectral and report else sum(p.numel() for p in parameters),
    )

"""What ``hypersst train TEXT``, ``hypersst translate`` and ``hypersst generate`` do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hypersst.datasets import EOS, LANGUAGES, TRANSLATIONS, Tokenizer, decode_text, encode_lines, restore_tokenizer
from hypersst.experiments.checkpoint import load_checkpoint, save_checkpoint
from hypersst.experiments.processes import Processes, joined_processes
from hypersst.experiments.records import Record, write_record
from hypersst.experiments.texts.model import build_model
from hypersst.experiments.texts.settings import LANGUAGE_MODELS, TRANSLATORS, ResolvedTextSettings, TextSettings
from hypersst.experiments.texts.training import train_text
from hypersst.experiments.texts.translation import translate
from hypersst.experiments.training import resolve_device
from hypersst.models.sequence import EncoderDecoder, LanguageModel, generate

__all__ = ["concerns_texts", "generate_command", "text_result_line", "train_text_command", "translate_command"]

_Settings = Annotated[TextSettings, tyro.conf.arg(name="")]
_NAMES = {"perplexity": "perplexity", "bleu": "BLEU", "chrf": "chrF"}
_RUNS = Path("runs")


def concerns_texts(arguments: list[str]) -> bool:
    """Whether arguments of ``hypersst train`` name a text or a model of texts."""
    names = {*TRANSLATIONS, *LANGUAGES, *TRANSLATORS, *LANGUAGE_MODELS}
    return any(argument.removeprefix("--model=") in names for argument in arguments)


def text_result_line(record: Record) -> str:
    """One line that says what was trained and how well."""
    s = record.settings
    rank = "" if s["method"] == "full" else f" rank {s['rank']}"
    scores = ", ".join(
        f"{' '.join([_NAMES[key.partition('_')[0]], *filter(None, [key.partition('_')[2]])])} {value:.2f}"
        for key, value in record.test.items()
    )
    return (
        f"{Path(s['dataset']).name} {s['model']} dim {s['dim']} {s['method']}{rank} seed {s['seed']}: validation "
        f"perplexity {record.validation['perplexity']:.2f}, test {scores} ({record.epochs:,} steps, "
        f"{record.seconds:.0f} s, {record.trainable:,} of {record.stored:,} numbers train)"
    )


def train_text_command(
    settings: _Settings,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    output: Path | None = None,
    resume: Path | None = None,
) -> int:
    """Train a Transformer on texts, print its scores, and write a JSON record, a checkpoint and the model.

    Started by torchrun, its processes share the rows of each batch; the first one prints and writes.

    Args:
        settings: What to train.
        data_dir: Folder to look for data files in first (else HYPERSST_DATA, the cache, the source).
        device: Where to train: cpu, cuda, cuda:1; with torchrun cuda is a GPU for each process.
        output: Folder of the run; runs/NAME by default, NAME made of the settings.
        resume: Checkpoint to continue; give the same settings as before.
    """
    with joined_processes(device) as (processes, own):
        return _train(settings, processes, own, data_dir, output, resume)


def _train(
    settings: TextSettings,
    processes: Processes,
    device: str,
    data_dir: Path | None,
    output: Path | None,
    resume: Path | None,
) -> int:
    resolved = settings.resolve()
    folder = output or _RUNS / resolved.run_name
    console = Console(stderr=True)
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TextColumn("loss {task.fields[loss]:.3f}, validation perplexity {task.fields[score]:.2f}, left"),
        TimeRemainingColumn(),
    )
    shown = console.is_terminal and processes.first
    if shown:
        console.print(resolved.run_name, style="bold")
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        bar = progress.add_task(resolved.run_name, total=resolved.steps, loss=float("nan"), score=float("nan"))

        def show(step: int, loss: float, score: float) -> None:
            progress.update(bar, completed=step, loss=loss, score=score)

        options: dict[str, Any] = {"data_dir": data_dir, "device": device, "resume": resume, "report": show}
        options["processes"] = processes
        done = train_text(resolved, checkpoint=folder / "checkpoint.pt", **options)
    if not processes.first:
        return 0
    write_record(folder / "record.json", done.record)
    save_checkpoint(folder / "model.pt", done.state_dict())
    print(text_result_line(done.record))
    for signature in done.signatures:
        print(signature)
    return 0


_Model = TypeVar("_Model", EncoderDecoder, LanguageModel)


def _load(checkpoint: Path, device: str, kind: type[_Model]) -> tuple[ResolvedTextSettings, Tokenizer, _Model]:
    """Read a network with its tokenizer from ``model.pt``, or from the best evaluation in ``checkpoint.pt``."""
    target = resolve_device(device)
    state = load_checkpoint(checkpoint)
    if "tokenizer" not in state or state["settings"].get("model") not in TRANSLATORS + LANGUAGE_MODELS:
        raise ValueError(f"`checkpoint` must be of a network for texts, got {str(checkpoint)!r}.")
    settings = TextSettings(**{**state["settings"], "betas": tuple(state["settings"]["betas"])}).resolve()
    if not state["best_state"]:
        raise ValueError(f"`checkpoint` must be of a run that has been evaluated once, got {str(checkpoint)!r}.")
    tokenizer = restore_tokenizer(state["tokenizer"])
    with torch.random.fork_rng(devices=[]):
        model = build_model(settings, len(tokenizer))
    if not isinstance(model, kind):
        command = "translate" if settings.translates else "generate"
        raise ValueError(f"`checkpoint` must be of another kind for this: `hypersst {command}` takes {settings.model}.")
    model.load_state_dict(state["best_state"])
    return settings, tokenizer, model.to(target).eval()


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        yield line.rstrip("\n")


def translate_command(
    checkpoint: tyro.conf.Positional[Path],
    *,
    beam: int | None = None,
    length_penalty: float | None = None,
    tokens: int = 4096,
    device: str = "cpu",
) -> int:
    """Translate the lines of standard input with a trained network, one line each.

    Args:
        checkpoint: The file model.pt (or checkpoint.pt) of a run.
        beam: Hypotheses kept; those of the run's settings if left out.
        length_penalty: Exponent of the length; that of the run's settings if left out.
        tokens: Source tokens in a batch.
        device: Where to translate.
    """
    settings, tokenizer, model = _load(checkpoint, device, EncoderDecoder)
    found = translate(
        model,
        tokenizer,
        list(_lines()),
        beam=settings.beam if beam is None else beam,
        length_penalty=settings.length_penalty if length_penalty is None else length_penalty,
        tokens=tokens,
    )
    print("\n".join(found))
    return 0


def generate_command(
    checkpoint: tyro.conf.Positional[Path],
    prompt: tyro.conf.Positional[str] = "",
    *,
    length: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> int:
    """Go on with a text by a trained language model.

    Args:
        checkpoint: The file model.pt (or checkpoint.pt) of a run.
        prompt: How the text begins.
        length: Tokens to write.
        temperature: Divides the scores before the draw.
        top_k: Draw among so many of the likeliest tokens, 1 for the likeliest; among all if left out.
        seed: Seed of the draws.
        device: Where to compute.
    """
    _, tokenizer, model = _load(checkpoint, device, LanguageModel)
    # Texts begin after the end of another one.
    ids = [EOS, *(token for line in encode_lines(tokenizer, prompt.split("\n")) for token in line)][:-1] or [EOS]
    target = resolve_device(device)
    generator = torch.Generator(target).manual_seed(seed)
    tokens = torch.tensor([ids], device=target)
    written = generate(model, tokens, length, temperature=temperature, top_k=top_k, generator=generator)
    print(decode_text(tokenizer, written[0, 1:].tolist()))
    return 0

"""The model card of a run, or of a recalibrated model: what it was trained on, how it scores, and what it is for, as JSON and Markdown.

The sections are those of Mitchell et al. 2019 (doi:10.1145/3287560.3287596), as far as they apply to promoters.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpraflow.core import checksums, files, provenance, scaffolds
from gpraflow.core import config as configs
from gpraflow.models.about import read as read_about
from gpraflow.report.parts import interval, number, of_95, read_intervals, read_json

JSON, MARKDOWN = "model_card.json", "model_card.md"
_SCORES = ("r", "rho", "R2", "mse")
_MAP = ("kind", "controls", "lowest", "highest", "r", "slope", "offset", "knots", "values", "rmse_before", "rmse", "R2_before", "R2")
_WITHOUT_CARD = "not stated (the model had no model card)"
_NOT_STATED = "not stated (section `card` of the config)"
_GENERAL = (
    "decisions about patients, or the release of organisms",
    "absolute levels of expression in another experiment, medium, strain or reporter; only `gpraflow recalibrate` with measured controls "
    "gives these",
)


def card(
    *,
    config: Mapping[str, Any],
    about: Mapping[str, Any],
    metrics: Mapping[str, Any],
    intervals: Sequence[Mapping[str, str]],
    sources: Sequence[Mapping[str, str]],
    scaffold: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the model card of a run.

    Parameters
    ----------
    config
        Complete config of the run; its section ``card`` has the statements that no file holds.
    about
        Content of ``model.json``.
    metrics
        Content of ``metrics.json``.
    intervals
        Rows of ``intervals.tsv``.
    sources
        Input files with their digests (`findings.digests`); folders are left out, because they say nothing elsewhere.
    scaffold
        Entry of the scaffold, with ``five_prime`` and ``three_prime``.
    """
    stated, window = config["card"], about["input"]
    covered = {row["dataset"]: row for row in of_95(intervals)}
    scores = []
    for name, of in metrics["datasets"].items():
        row = {"dataset": name, "title": of["title"], "independent": of["independent"], "n": of["n"]}
        row |= {f"{score}{end}": of.get(f"{score}{end}") for score in _SCORES for end in ("", "_low", "_high")}
        row["ceiling"] = of["ceiling"]["r"] if of.get("ceiling") else None
        row["remark"] = of.get("remark") or ""
        if name in covered:
            row |= {f"coverage_95{end}": float(covered[name][key]) for end, key in (("", "inside"), ("_low", "low"), ("_high", "high"))}
        scores.append(row)
    named = {"name": window["scaffold"], **{key: scaffold[key] for key in ("five_prime", "three_prime")}}
    return {
        "name": config["run"],
        "gpraflow": provenance.versions(["gpraflow"]).get("gpraflow", ""),
        "model": _model(about),
        "use": {
            "assay": stated["assay"] or _NOT_STATED,
            "unit": configs.unit(config),
            "scale": _scale(config),
            "input": _input(about),
            "scaffold": named,
            "not_for": [*_unlike(named), *_GENERAL, *stated["limits"]],
        },
        "training": {
            "data": stated["data"] or _NOT_STATED,
            "licence": stated["licence"] or _NOT_STATED,
            "promoters": about["promoters"],
            "teacher": about.get("teacher"),
            "files": [{"what": row["what"], "file": Path(row["file"]).name, "sha256": row["sha256"]} for row in sources],
            "splits": about.get("data", {}),
        },
        "scores": scores,
        "remarks": [],
    }


def _model(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card states of the network."""
    return {key: about.get(key) for key in ("architecture", "preset", "parameters", "members", "conditions", "commit", "versions")}


def _input(about: Mapping[str, Any]) -> str:
    return f"DNA, 5' to 3' on the strand of the reporter gene; the model sees {about['input']['length']} bp"


def _unlike(scaffold: Mapping[str, Any]) -> list[str]:
    """Return the promoters that a model is not for, from ``name`` and ``five_prime`` of its scaffold."""
    other = f"promoters in another scaffold than {scaffold['name']}"
    return [
        other if scaffold["five_prime"] else "constructs other than that of the training data",
        "genomic regions or enhancers outside the construct of the assay",
        "promoters for which `out_of_distribution` is not empty",
    ]


def _scale(config: Mapping[str, Any]) -> str:
    """Return what a number on the scale of the predictions means."""
    if configs.from_bins(config):
        return "mean bin of the sorted cells, counted as in the sample sheet"
    if configs.from_dna_rna(config):
        return "log2 ratio of RNA to DNA"
    low, high = config["input"]["expression_min"], config["input"]["expression_max"]
    return f"that of the training table, whose values lie between {low:g} and {high:g}"


def markdown(content: Mapping[str, Any]) -> str:
    """Return a model card as Markdown."""
    model, use, training = content["model"], content["use"], content["training"]
    members = f", ensemble of {model['members']}" if model["members"] > 1 else ""
    flanks = " ... ".join(filter(None, (use["scaffold"]["five_prime"], use["scaffold"]["three_prime"])))
    preset = f", preset `{model['preset']}`" if model["preset"] else ""
    lines = [
        f"# Model card: {content['name']}",
        "",
        f"`{model['architecture']}`{preset}, {model['parameters']:,} parameters{members}.",
        "",
        f"Made with gpraflow {content['gpraflow']}.",
        "",
        "## Intended use",
        "",
        f"- Assay: {use['assay']}",
        f"- Unit of predictions: {use['unit']} ({use['scale']})",
        f"- Input: {use['input']}",
        f"- Scaffold: {use['scaffold']['name']}{f' (`{flanks}`)' if flanks else ', no constant flanks'}",
    ]
    if model["conditions"]:
        lines.append(f"- Conditions: {', '.join(model['conditions'])}")
    lines += ["", "Not for:", "", *[f"- {each}" for each in use["not_for"]], "", "## Training data", ""]
    lines += [f"- Source: {training['data']}", f"- Licence: {training['licence']}"]
    if promoters := training["promoters"]:
        lines.append(f"- Promoters: {promoters['train']:,} for training, {promoters['val']:,} for validation")
    if teacher := training.get("teacher"):
        kind = (
            f"an ensemble of {teacher['members']} `{teacher['architecture']}`"
            if teacher["members"] > 1
            else f"a `{teacher['architecture']}`"
        )
        lines.append(
            f"- Distilled: also trained on the predictions of {kind} for {teacher['promoters']:,} unlabelled promoters "
            f"(SHA-256 of its `model.keras` `{teacher['sha256']}`)"
        )
    if training["files"]:
        lines += ["", "| file | role | SHA-256 |", "|---|---|---|"]
        lines += [f"| `{row['file']}` | {_plain(row['what'])} | `{row['sha256']}` |" for row in training["files"]]
    for row in content.get("recalibrations", []):
        lines += ["", *_recalibration(row)]
    before = " They are those of the model before recalibration, on its own scale." if "recalibrations" in content else ""
    lines += [
        "",
        "## Scores",
        "",
        f"Brackets are 95 % intervals. Coverage: fraction of measurements within the 95 % prediction interval.{before}",
        "",
        "| data set | independent | n | Pearson r | Spearman rho | R2 | mean squared error | noise ceiling of r | coverage |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    if not content["scores"]:
        lines[-4:] = ["Not stated."]
    for row in content["scores"]:
        cells = [_plain(row["title"]), "yes" if row["independent"] else "no", f"{row['n']:,}"]
        cells += [interval(row, score) for score in _SCORES]
        cells += [number(row["ceiling"]), interval(row, "coverage_95") if "coverage_95" in row else "not assessed"]
        lines.append(f"| {' | '.join(cells)} |")
    remarks = [*content["remarks"], *(f"{row['title']}: {row['remark']}" for row in content["scores"] if row["remark"])]
    if remarks:
        lines += ["", "## Remarks", "", *[f"- {_plain(remark)}" for remark in remarks]]
    return "\n".join(lines) + "\n"


def _recalibration(row: Mapping[str, Any]) -> list[str]:
    """Return the section of a recalibration, as lines of Markdown."""
    controls, before = row["controls"], row["before"]
    lines = [
        "## Recalibration",
        "",
        f"- Date: {row['date']}",
        f"- Controls: `{controls['file']}`, SHA-256 `{controls['sha256']}`",
        f"- Model before: {before['name']}, SHA-256 of `model.keras` `{before['sha256']}`",
        "",
        "Errors are root mean squares; those after recalibration, and R2, are of ten-fold cross-validation.",
        "",
        "| condition | controls | from | to | Pearson r | map | error before | after | R2 before | after |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in row["maps"]:
        shape = f"{each['slope']:.4g} x + {each['offset']:.4g}".replace("+ -", "- ")
        shape = (
            f"affine: {shape}" if each["kind"] == "affine" else f"isotonic, {len(each['knots'])} knots; beyond them the slope of {shape}"
        )
        cells = [
            each["condition"] or "all",
            f"{each['controls']:,}",
            f"{each['lowest']:.3g}",
            f"{each['highest']:.3g}",
            number(each["r"]),
            shape,
        ]
        lines.append(f"| {' | '.join([*cells, *(number(each[key]) for key in ('rmse_before', 'rmse', 'R2_before', 'R2'))])} |")
    return lines


def _plain(text: str) -> str:
    """Return text that stays in its cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def of_run(*, results: Path, config: Mapping[str, Any], sources: Sequence[Mapping[str, str]], scaffolds_file: str) -> dict[str, Any]:
    """Return the model card (`card`) of a finished run in the folder ``results``."""
    return card(
        config=config,
        about=read_about(results / "model/model.json"),
        metrics=read_json(results / "metrics.json"),
        intervals=read_intervals(results),
        sources=sources,
        scaffold=scaffolds.entry(scaffolds_file, config["scaffold"]["name"]),
    )


def of_model(directory: str | os.PathLike, about: Mapping[str, Any], scaffold: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model card of a model directory: the one in it, that of its run beside it, or one that states what the model itself holds.

    Parameters
    ----------
    directory
        Model directory.
    about
        Content of its ``model.json``.
    scaffold
        ``name``, ``five_prime`` and ``three_prime``.
    """
    directory = Path(directory)
    for path in (directory / JSON, directory.absolute().parent / JSON):
        if path.is_file():
            found = read(path)
            if path.parent == directory or found["training"]["splits"] == about.get("data", {}) != {}:  # of this model's run
                return found
    return {
        "name": directory.name,
        "gpraflow": provenance.versions(["gpraflow"]).get("gpraflow", ""),
        "model": _model(about),
        "use": {
            "assay": _WITHOUT_CARD,
            "unit": _WITHOUT_CARD,
            "scale": "that of the training table",
            "input": _input(about),
            "scaffold": dict(scaffold),
            "not_for": [*_unlike(scaffold), *_GENERAL],
        },
        "training": {
            "data": _WITHOUT_CARD,
            "licence": _WITHOUT_CARD,
            "promoters": about.get("promoters", {}),
            "files": [],
            "splits": about.get("data", {}),
        },
        "scores": [],
        "remarks": [],
    }


def recalibrated(
    before: Mapping[str, Any],
    *,
    name: str,
    about: Mapping[str, Any],
    maps: Mapping[str, Mapping[str, Any]],
    controls: str | os.PathLike,
    date: str,
) -> dict[str, Any]:
    """Return the model card of a recalibrated model.

    Parameters
    ----------
    before
        Card of the model before (`of_model`).
    name
        What the new model is called.
    about
        Content of the new ``model.json``.
    maps
        Condition -> its map and scores, as ``scales`` in ``model.json``; an empty name for a model of one condition.
    controls
        File of measured controls; its name and digest are stated, not its folder.
    date
        Day of the recalibration, such as 2026-12-01.
    """
    file, of_before = Path(controls), next(iter(maps.values()))["of"]
    ranges = [f"{each['lowest']:.3g} to {each['highest']:.3g}{f' in {condition}' if condition else ''}" for condition, each in maps.items()]
    beyond = f"expression beyond that of the controls ({', '.join(ranges)}), where the map is extrapolated"
    row = {
        "date": date,
        "controls": {"file": file.name, "sha256": checksums.digests(file)["sha256"]},
        "before": {"name": before["name"], "sha256": of_before},
        "maps": [{"condition": condition} | {key: each[key] for key in _MAP} for condition, each in maps.items()],
    }
    use = before["use"] | {
        "unit": f"units of the controls in {file.name}",
        "scale": "brought to their scale by gpraflow recalibrate",
        "not_for": [*(each for each in before["use"]["not_for"] if not each.startswith("expression beyond that of the controls")), beyond],
    }
    return dict(before) | {
        "name": name,
        "gpraflow": provenance.versions(["gpraflow"]).get("gpraflow", ""),
        "model": before["model"] | {"conditions": about["conditions"]},
        "use": use,
        "recalibrations": [*before.get("recalibrations", []), row],
    }


def write(content: Mapping[str, Any], folder: str | os.PathLike) -> None:
    """Write a model card in both formats, ``model_card.json`` and ``model_card.md``."""
    files.write_json(Path(folder) / JSON, content)
    files.write_text(Path(folder) / MARKDOWN, markdown(content))


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Return the content of a ``model_card.json`` that `write` wrote."""
    return json.loads(Path(path).read_text(encoding="utf-8"))

"""The list of commands by section, and what `dof --help` prints: without click, at once."""

from __future__ import annotations

# Sections of the help, each command with its line. A command NAME is `cli.commands.NAME.NAME`;
# what is not here does not exist.
COMMANDS = {
    "Everyday": {
        "extract": "Run pictures once through a core; write their features as one file.",
        "train": "Train a head on a dataset; judge it; write it as ONNX.",
        "predict": "Predict on new pictures with a fused model.",
        "fuse": "Join core and heads into one ONNX file.",
        "info": "Say what a dataset holds and how it came to be.",
        "validate": "Check a file against the specification.",
        "audit": "Attack a dataset; say what of the pictures and people was found.",
        "push": "Put a dataset on a hub or a store, privately unless asked otherwise.",
    },
    "Share": {
        "card": "Write one page that says what a dataset is, for people to read.",
        "edit": "Rewrite what a file says of itself; its data stay.",
        "import": "Make a dataset of vectors that others computed.",
        "label": "Give a dataset new labels from a table; its vectors stay.",
        "convert": "Write a dataset in another form, or back.",
        "pull": "Fetch a dataset that was pushed, and check every file.",
    },
    "Guard": {
        "duplicates": "Find the same picture under two patients, or in two splits.",
        "erase": "Take people or inputs out of a dataset, by name.",
        "reidentify": "Say whose pseudonym is whose, to the owner of the key.",
    },
    "More": {
        "evaluate": "Judge a head on another dataset of the same core.",
        "headless": "Cut the head off a model; keep its preprocessing with it.",
        "reproduce": "Make rows again from their source; say how closely they agree.",
        "diff": "Say what differs between two datasets.",
        "merge": "Put datasets together in one file or directory.",
        "append": "Add files to a directory as its next parts.",
        "drop": "Take parts, or rows, out of a directory.",
        "compact": "Join the small parts of a directory.",
        "repair": "Say what a crash left behind, and remove it.",
        "estimate": "Say how large a file will be, and how long it takes.",
        "demo": "The whole job on real pictures, in about ten seconds.",
        "doctor": "Say what is installed, what to install, what runs a core fastest.",
    },
}


# What each command's own help ends with, as it is typed.
EXAMPLES = {
    "extract": "dof extract pictures/ --core core.onnx --label folder -o x.dof.parquet",
    "train": "dof train x.dof.parquet -o head.onnx",
    "predict": "dof predict model.onnx new.png folder/ --csv > predictions.csv",
    "fuse": "dof fuse --head head.onnx -o model.onnx",
    "info": "dof info x.dof.parquet",
    "validate": "dof validate --deep x.dof.parquet",
    "audit": "dof audit x.dof.parquet --source pictures/",
    "push": "dof push x.dof.parquet hf://OWNER/NAME --dry-run",
    "card": "dof card x.dof.parquet --head head.onnx -o card.html",
    "edit": "dof edit x.dof.parquet --set title='Digits' --set license=CC-BY-4.0",
    "import": "dof import vectors.npy --table rows.parquet --label kind -o x.dof.parquet",
    "label": "dof label x.dof.parquet --table t.csv --key file --label sex -o y.parquet",
    "convert": "dof convert x.dof.parquet small.dof.parquet --layout compact --dtype float16",
    "pull": "dof pull hf://OWNER/NAME -o x.dof.parquet",
    "duplicates": "dof duplicates x.dof.parquet --threshold 0.99",
    "erase": "dof erase x.dof.parquet --groups patients.txt -o without.dof.parquet",
    "reidentify": "dof reidentify x.dof.parquet --source pictures/ -o pairs.csv",
    "evaluate": "dof evaluate head.onnx other.dof.parquet --by sex",
    "headless": "dof headless model.onnx --preprocess imagenet -o core.onnx",
    "reproduce": "dof reproduce x.dof.parquet --source pictures/ --core core.onnx",
    "diff": "dof diff x.dof.parquet y.dof.parquet --tolerance 0.001",
    "merge": "dof merge a.dof.parquet b.dof.parquet -o both.dof.parquet",
    "append": "dof append x.dof new.dof.parquet",
    "drop": "dof drop x.dof --ids gone.txt",
    "compact": "dof compact x.dof --rows 100000",
    "repair": "dof repair x.dof.parquet --discard",
    "estimate": "dof estimate pictures/ --core core.onnx",
    "demo": "dof demo",
    "doctor": "dof doctor core.onnx",
}


_USAGE = """Usage: dof COMMAND [OPTIONS] …

Share what a frozen deep model saw instead of the pictures themselves.
Start with: dof demo
"""


_OPTIONS = """
Of each command: dof COMMAND --help. Of all: --json, --quiet, --debug.
Exit codes: 0 done; 1 the answer is no; 2 wrong use; 3 done, but some inputs
failed; 70 a fault of this program; 130 interrupted. Version: dof --version."""


def overview() -> str:
    """What `dof --help` prints: the commands, section by section."""
    width = max(len(name) for section in COMMANDS.values() for name in section)
    lines = [_USAGE]
    for title, commands in COMMANDS.items():
        lines.append(f"{title}:")
        lines += [f"  {name:{width}}  {line}" for name, line in commands.items()]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n" + _OPTIONS

"""The heads that have a name: a line here makes one known to training and to the command line."""

from __future__ import annotations

from dof_arrow.heads.architecture import Activation, Architecture, Dense, Dropout, Pool, Recurrent

MLP = Architecture((Dense(units=128), Activation(function="relu"), Dropout(rate=0.3)))
RNN = Architecture((Recurrent(cell="gru", units=64), Pool(by="last"), Dropout(rate=0.2)))
LSTM = Architecture((Recurrent(cell="lstm", units=64), Pool(by="last"), Dropout(rate=0.2)))
STATISTICS = Architecture((Pool(by="statistics"),))
MEAN = Architecture((Pool(by="mean"),))  # the baseline of recurrent heads

# None is the linear head, which is no network.
NAMED: dict[str, Architecture | None] = {
    "linear": None,
    "mlp": MLP,
    "rnn": RNN,
    "lstm": LSTM,
    "mean": MEAN,
    "statistics": STATISTICS,
}
SUGGESTED = "suggested"  # the one that the dataset's author wrote into it
HEADS = (*NAMED, SUGGESTED)

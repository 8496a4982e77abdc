"""Biochemical model of transcription-factor binding, potentiation, activity and saturation, with interpretable parameters.

Source: de Boer et al. 2020, "Deciphering eukaryotic gene-regulatory logic with 100 million random promoters",
doi:10.1038/s41587-019-0315-8. docs/models.md gives the formulas and lists the differences from the original.
"""

import keras
import numpy as np
import polars as pl
from keras import layers, ops

from gpraflow.models.layers import scanning
from gpraflow.sequences.scaffold import BASES

INPUTS = ("tokens",)
LEARNED = "unknown_factors"

_NAME_BYTES = 48  # of a factor's name; more if a name is longer
_MOST = 20.0  # statistical weights are capped at exp(20): far beyond saturation, far below the float32 maximum

# Staged fit as in the paper: first the parameters that act linearly on occupancies, then binding, then positions.
# Each stage lists its trainable layers and its share of the epochs.
STAGES = (
    ("activities", ("activities", "potentiation", "basal", "expression"), 0.1),
    ("concentrations", ("activities", "potentiation", "basal", "expression", "concentrations"), 0.1),
    ("motifs", ("activities", "potentiation", "basal", "expression", "concentrations", "motifs"), 0.4),
    ("positions", ("activities", "potentiation", "basal", "expression", "concentrations", "motifs", "position_activities"), 0.4),
)


def build(
    length: int,
    *,
    outputs: int,
    conditions: int = 1,
    upstream: str,
    motifs: str,
    motif_width: int,
    unknown_factors: int,
    bin_width: int,
    initial_concentration: float,
    activity_l1: float,
    position_l2: float,
) -> keras.Model:
    """Build the Keras model; all hyperparameters are arguments.

    Parameters
    ----------
    length
        Promoter window in bp; the input is ``(batch, length)`` tokens A0 C1 G2 T3 N4.
    outputs
        Number of outputs: expression in each condition.
    conditions
        Number of conditions. They differ in the concentrations of factors, and in the scale of measured expression; what a factor does
        where it binds is the same in all.
    upstream
        Not used: the scaffold is the same in all promoters.
    motifs
        Motif file of the initial motifs, one factor per motif, or empty for none; needed only to build the model.
    motif_width
        Width of all motif matrices in bp; wider motifs are cropped to their most informative positions.
    unknown_factors
        Number of factors without a known motif; their motifs are initialised randomly.
    bin_width
        Width of position bins in bp. Sites of one factor within a bin exclude each other and share a position-specific activity.
        The published model uses 1.
    initial_concentration
        Initial concentration of every factor, relative to the dissociation constant of its best site.
    activity_l1, position_l2
        L1 penalty on activities and potentiations, and L2 penalty on position- and strand-specific activities.

    Returns
    -------
    keras.Model
        Maps ``(batch, length)`` tokens to ``(batch, conditions)`` standardised expression.

    Raises
    ------
    ValueError
        If ``outputs`` is not the number of conditions, or there are no factors.
    """
    if outputs != conditions:
        raise ValueError(f"the biochemical model has one output for each condition ({conditions}), not {outputs}")
    known, known_motifs = scanning.motif_kernel(motifs, motif_width)
    unknown = ops.convert_to_numpy(keras.initializers.RandomNormal(stddev=0.5)((len(known), unknown_factors)))
    kernel = np.concatenate([known, unknown], axis=1)
    factors = kernel.shape[1]
    names = [f"{motif.matrix_id} {motif.factor}" for motif in known_motifs] + [f"- unknown_{index + 1}" for index in range(unknown_factors)]
    if not names:
        raise ValueError("without a motif file, unknown_factors must be above 0")
    name_bytes = max(_NAME_BYTES, *(len(name.encode()) for name in names))

    def linear(name, activation=None):
        penalty = keras.regularizers.L1(activity_l1) if activity_l1 else None
        start = keras.initializers.RandomNormal(stddev=0.1)
        return layers.Dense(1, activation=activation, kernel_initializer=start, kernel_regularizer=penalty, name=name)

    tokens = keras.Input((length,), dtype="int32", name="tokens")
    one = ops.cast(ops.ones_like(tokens[:, :1]), "float32")  # a dense layer applied to 1 is a vector of free parameters
    scan = layers.Dense(factors, use_bias=False, name="motifs")
    scores = [scan(strand) for strand in scanning.windows(tokens, motif_width)]
    bins = scanning.bins(length, factors, bin_width)
    concentrations = layers.Dense(factors * conditions, use_bias=False, name="concentrations")(one)
    potentiation, activities = linear("potentiation", activation="sigmoid"), linear("activities")
    position_activities = layers.Dense(
        1,
        use_bias=False,
        kernel_initializer="zeros",
        kernel_regularizer=keras.regularizers.L2(position_l2) if position_l2 else None,
        name="position_activities",
    )
    basal = layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="basal")(one)

    def saturated(concentration):
        """Return the probability that the promoter is active at the concentrations of a condition, ``(batch, 1)``."""
        sites = [ops.exp(ops.minimum(score + concentration[:, None, :], _MOST)) for score in scores]
        forward, reverse = (bins(weights) for weights in sites)
        states = 1 + forward + reverse  # statistical weights per bin and factor: unbound, or one site bound
        bound = 1 - ops.exp(-ops.sum(ops.log(states), axis=1))
        occupancy = layers.Concatenate(name="occupancy" if conditions == 1 else None)([forward / states, reverse / states])
        return ops.sigmoid(potentiation(bound) * (activities(bound) + position_activities(layers.Flatten()(occupancy))) + basal)

    of_conditions = [saturated(concentrations[:, number * factors : (number + 1) * factors]) for number in range(conditions)]
    if conditions == 1:
        expression = layers.Dense(1, name="expression")(of_conditions[0])
    else:  # a scale and an offset for each condition
        expression = layers.EinsumDense("bc,c->bc", conditions, bias_axes="c", name="expression")(
            layers.Concatenate(name="conditions")(of_conditions)
        )
    # Names are stored as weights, so that the parameter table of a saved model does not need the motif file.
    labels = layers.Embedding(factors, name_bytes, trainable=False, name="factor_names")(ops.zeros_like(tokens[:, :1]))
    model = keras.Model(tokens, expression + 0 * ops.mean(labels, axis=-1), name="biochemical")

    model.get_layer("motifs").set_weights([kernel])
    log_concentrations = np.log(initial_concentration) - scanning.best_scores(kernel)
    model.get_layer("concentrations").set_weights([np.tile(log_concentrations, conditions)[None, :]])
    shape = (1, 1) if conditions == 1 else (conditions,)  # standardised expression between -2 and 2
    model.get_layer("expression").set_weights([np.full(shape, 4.0), np.full(conditions, -2.0)])
    codes = np.zeros((factors, name_bytes), np.float32)
    for row, name in zip(codes, names, strict=True):
        text = name.encode()
        row[: len(text)] = list(text)
    model.get_layer("factor_names").set_weights([codes])
    return model


def parameters(model: keras.Model) -> pl.DataFrame:
    """Return the parameters of every factor as a table.

    Returns
    -------
    polars.DataFrame
        ``factor``, ``matrix_id`` ("-" without a known motif), ``concentration`` (relative to the dissociation constant of the best
        site; with several conditions ``concentration.1``, ``concentration.2`` and so on), ``activity`` and
        ``potentiation`` (at full occupancy), ``position_activity_min`` and ``position_activity_max`` (range of position- and
        strand-specific changes of the activity), ``consensus`` (the best site).
    """
    (kernel,) = model.get_layer("motifs").get_weights()
    (log_concentrations,) = model.get_layer("concentrations").get_weights()
    positions = model.get_layer("position_activities").get_weights()[0].reshape(-1, kernel.shape[1])
    bases = kernel.reshape(-1, BASES, kernel.shape[1])
    letters = np.array(list("ACGT"))[bases.argmax(axis=1)]
    letters[np.ptp(bases, axis=1) < 0.5] = "N"
    concentrations = np.exp(log_concentrations[0].reshape(-1, kernel.shape[1]).astype(np.float64) + scanning.best_scores(kernel))
    columns = [f"concentration.{number}" for number in range(1, len(concentrations) + 1)] if len(concentrations) > 1 else ["concentration"]
    names = [bytes(row[row > 0].astype(np.uint8)).decode() for row in model.get_layer("factor_names").get_weights()[0]]
    return pl.DataFrame(
        {
            "factor": [name.split(" ", 1)[1] for name in names],
            "matrix_id": [name.split(" ", 1)[0] for name in names],
            **dict(zip(columns, concentrations, strict=True)),
            "activity": model.get_layer("activities").get_weights()[0][:, 0],
            "potentiation": model.get_layer("potentiation").get_weights()[0][:, 0],
            "position_activity_min": positions.min(axis=0),
            "position_activity_max": positions.max(axis=0),
            "consensus": ["".join(column).strip("N") for column in letters.T],
        }
    )


def position_parameters(model: keras.Model, bin_width: int) -> pl.DataFrame:
    """Return the activity of every factor by position and strand: what the parameters say of its preference for a place.

    Parameters
    ----------
    model
        The model, with its ``bin_width`` in bp.

    Returns
    -------
    polars.DataFrame
        ``factor``, ``matrix_id`` ("-" without a known motif), ``strand``, ``first`` and ``last`` (of a bin of positions of the centre of
        the site in the window, from 1, to within 1 bp), ``activity`` (of a factor that is bound there: its activity plus the position- and
        strand-specific one; acts before the sigmoid).
    """
    table = parameters(model)
    length, factors = model.input_shape[1], table.height
    (weights,) = model.get_layer("position_activities").get_weights()
    bins = -(-length // bin_width)
    activity = weights.reshape(bins, 2, factors) + table["activity"].to_numpy()
    of_bin, of_strand, of_factor = (axis.ravel() for axis in np.indices(activity.shape))
    first = of_bin * bin_width + 1
    places = {
        "strand": np.array(["+", "-"])[of_strand],
        "first": first,
        "last": np.minimum(first + bin_width - 1, length),
        "activity": activity.ravel(),
    }
    return table.select("factor", "matrix_id")[of_factor].with_columns(pl.Series(name, values) for name, values in places.items())


PRESETS = {
    "paper": {
        "motif_width": 16,
        "unknown_factors": 48,
        "bin_width": 5,
        "initial_concentration": 1.0,
        "activity_l1": 0.0,
        "position_l2": 1e-4,
    },
    "small": {
        "motif_width": 12,
        "unknown_factors": 0,
        "bin_width": 10,
        "initial_concentration": 1.0,
        "activity_l1": 0.0,
        "position_l2": 1e-4,
    },
}

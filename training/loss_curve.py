"""A picture of how a run went."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def plot_run(log_history: list[dict], path: Path) -> None:
    """Draw training loss, and held-out accuracies where there are any, from a Trainer's `state.log_history`.

    Args:
        log_history: The Trainer's log entries.
        path: PNG to write.
    """
    losses = [(entry["step"], entry["loss"]) for entry in log_history if "loss" in entry]
    watched = [entry for entry in log_history if "watch_place" in entry]
    figure, axes = plt.subplots(1, 2 if watched else 1, figsize=(12 if watched else 6, 4), squeeze=False)
    axes[0, 0].plot(*zip(*losses))
    axes[0, 0].set(xlabel="step", ylabel="loss (answer tokens)", yscale="log", title="training loss")
    if watched:
        for name in ("place", "time", "weather", "camera", "main_thing", "thing", "unique"):
            steps = [entry["step"] for entry in watched]
            axes[0, 1].plot(steps, [entry[f"watch_{name}"] for entry in watched], label=name)
        axes[0, 1].set(xlabel="step", ylim=(0, 1.02), title="held-out scenes: named correctly")
        axes[0, 1].legend()
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)

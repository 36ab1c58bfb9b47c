"""The pure core: estimators, guard, learner, scores, drift; no IO."""

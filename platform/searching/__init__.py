"""Search sections: Optuna proposes points, Ray Tune runs them, the store remembers."""

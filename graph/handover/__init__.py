"""What leaves a run: the folder that `tutelage export` writes, with its model, data and cards."""

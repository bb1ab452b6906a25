"""Planning: what a run would ask and cost, from low to high, before anything is spent."""

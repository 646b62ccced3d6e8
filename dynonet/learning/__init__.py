"""How a stack of DynoNets learns: one step, its update, the look through it, and an epoch's plan."""

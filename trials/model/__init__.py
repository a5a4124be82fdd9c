"""Model of the protocol (docs/model), explored by the model checker spin."""

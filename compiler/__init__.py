"""Graph in, Plan out: the intermediate representation and its passes."""

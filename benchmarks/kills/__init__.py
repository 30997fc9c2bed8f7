"""Kill -9 at random moments over all stages: is what comes out always the same?"""

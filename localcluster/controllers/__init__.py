"""Controllers: each follows one kind of object and moves the rest of the store towards what it asks for."""

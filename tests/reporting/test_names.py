from hume_turtle.reporting.names import family, method_name


def test_variants_belong_to_their_method():
    for key in ("turtle", "turtle-cold", "turtle-my-own"):
        assert family(key) == "turtle"
    for key in ("hume-rematched", "hume-inductive-rematched"):
        assert family(key) == "hume"
    for key in ("k-means", "linear-probe", "self-classifier", "turtle + dinov2", "turtles"):
        assert family(key) == key


def test_names_of_variants():
    assert method_name("turtle") == "TURTLE"
    assert method_name("turtle-cold") == "TURTLE, cold start"
    assert method_name("turtle-selected") == "TURTLE, selected"
    assert method_name("turtle-my-own + dinov2") == "TURTLE, my-own + dinov2"
    assert method_name("hume-inductive") == "HUME, inductive"
    assert method_name("hume-inductive-rematched") == "HUME, inductive, re-matched"
    assert method_name("hume-rematched seconds") == "HUME, re-matched seconds"
    assert method_name("linear-probe") == "linear probe"

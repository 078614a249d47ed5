from models.fixed_point.unroll import JFB, MultiStepJFB, StochasticJFB, Unroll


def test_policies_draw_their_ranges_and_only_from_seed_and_step():
    assert JFB(6).draw(0, 5) == Unroll(6, 1)
    assert MultiStepJFB(6, 12).draw(0, 5) == Unroll(6, 12)
    policy = StochasticJFB(3, 2)
    draws = [policy.draw(0, step) for step in range(400)]
    assert {d.without_grad for d in draws} == {0, 1, 2, 3}
    assert {d.with_grad for d in draws} == {1, 2}
    assert draws == [policy.draw(0, step) for step in range(400)] != [policy.draw(1, step) for step in range(400)]

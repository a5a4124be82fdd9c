"""Lanes: one worker per endpoint that claims the endpoint's due deliveries and POSTs them.

`limits` has the pure decisions, `slots` the bookkeeping of slots, `admission` the endpoints that hold one, `lane`
the state of one lane and its wake-up protocol, and `runner` what executes all of it.

Slots and POSTs are scarce, and endpoints that time out must not keep them from endpoints that answer:
- A lane yields when none of its POSTs ends for LANE_YIELD_SECONDS; the next of them to end restarts it.
- An endpoint that did not answer the last POST, or is new to this process, gets at most MAX_UNPROVEN_POSTS; so
  does every endpoint while half of all POSTs are in flight.
- One partner holds at most a fifth of the slots, and all unhealthy endpoints together at most a quarter. An
  endpoint that gets no slot waits for its turn. An endpoint keeps its slot until its last POST has ended, so the
  same shares hold for POSTs.
"""

/* The deliveries of one endpoint: doorbell, job, lane, claim, lease, POST, settlement, sweeper, presence.
 *
 * Each label names a step; README.md maps the labels to the code. `atomic` is one SQL statement, or code without an
 * await. What runs periodically in the code is enabled here only while it has something to do, so that every run ends
 * in a state in which nothing is left to do; `Monitor` judges that state.
 */
#ifndef FAULTS
#define FAULTS 1  /* of any kind, together; a failed attempt is one as well */
#endif
#ifndef LIMIT
#define LIMIT 1  /* POSTs in flight to the endpoint, over all dispatchers */
#endif
#ifndef BUDGETS
#define BUDGETS 1  /* lanes whose time is over */
#endif
#define MAILS 2
#define DISPATCHERS 2

/* Guards: each is removed by -DNAME=0. */
#ifndef SWEEPER
#define SWEEPER 1  /* deliveries that nobody sends are found */
#endif
#ifndef LEASE_END
#define LEASE_END 1  /* a lease ends */
#endif
#ifndef TOKEN
#define TOKEN 1  /* a failure counts only while its claim holds the lease */
#endif
#ifndef SILENCE
#define SILENCE 1  /* the connection of a silent sweeper is ended */
#endif
#ifndef SKIP_DEAD_JOB
#define SKIP_DEAD_JOB 1  /* a job that was taken and never raised the generation is replaced */
#endif
#ifndef GENERATION
#define GENERATION 1  /* a job raises the generation before its lane looks */
#endif
#ifndef MARK_FIRST
#define MARK_FIRST 1  /* a lane removes its mark before the claim, not after it */
#endif
#ifndef MARK_LEFT
#define MARK_LEFT 1  /* a claim that may have left deliveries sets the mark again */
#endif
#ifndef LOOK_AGAIN
#define LOOK_AGAIN 1  /* a lane that was rung during a claim claims again, whatever room the claim found */
#endif
#ifndef RING_LAST
#define RING_LAST 1  /* the doorbell rings after the commit */
#endif

#define NUMBERS 6  /* 1 to 5: two at the start, and one more after each of three faults at most */

/* PostgreSQL: deliveries, their leases, advisory locks. The holder 0 has no number yet. */
mtype = { ABSENT, PENDING, DELIVERED };
mtype state[MAILS] = ABSENT;
bit up = 1, due[MAILS], leased[MAILS], held[NUMBERS];
byte token[MAILS], holder[MAILS], sweeper;

/* Redis: the job of the current generation waits in the queue, or is taken and has not raised the generation. */
bit redis = 1, queued, taken;

/* Dispatchers by slot. A process that is started again has a new number. */
mtype = { ALIVE, HUNG };
mtype life[DISPATCHERS] = ALIVE;
mtype = { NONE, TAKEN, UNRAISED };
mtype job[DISPATCHERS] = NONE;
mtype = { OFF, LOOKING, CLAIMING, CLAIMED, WAITING };
mtype lane[DISPATCHERS] = OFF;
mtype = { IDLE, SENDING, GOOD, BAD };
typedef Posts { mtype at[MAILS] = IDLE; bit got[MAILS] };
Posts post[DISPATCHERS];
bit rung[DISPATCHERS], woken[DISPATCHERS], was_idle[DISPATCHERS], is_all[DISPATCHERS];
byte number[DISPATCHERS], last_number;

byte faults = FAULTS, budgets = BUDGETS;
bit has_hung;

#define STATE printf("state %e %e, lease %d %d, job %d %d, lane %e %e, mark %d %d\n", state[0], state[1], \
                     leased[0], leased[1], queued, taken, lane[0], lane[1], rung[0], rung[1])
#define POSTS(p) ((post[p].at[0] != IDLE) + (post[p].at[1] != IDLE))
#define ROOM (leased[0] + leased[1] < LIMIT)
#define MAY_CLAIM(d) (state[d] == PENDING && due[d] && !leased[d])
#define LOOKS(p) (life[p] == ALIVE && (lane[p] == LOOKING || lane[p] == CLAIMING || lane[p] == CLAIMED || \
                                       (lane[p] == WAITING && woken[p])))
#define OVERDUE ((MAY_CLAIM(0) || MAY_CLAIM(1)) && ROOM && !LOOKS(0) && !LOOKS(1))
/* The job is taken by a process that ended before it raised the generation. */
#define DEAD_JOB (taken && (job[0] == NONE || life[0] == HUNG) && (job[1] == NONE || life[1] == HUNG))

inline ring_lane(p) {
    rung[p] = 1; woken[p] = 1;
    if
    ::  lane[p] == OFF && POSTS(p) < LIMIT -> lane[p] = LOOKING
    ::  else
    fi
}

inline ring_doorbell() {
    if
    ::  redis && !queued && !taken -> queued = 1
    ::  else
    fi
}

/* The step after a look, as `next_step` decides. */
inline decide(p, can_claim) {
    if
    ::  rung[p] && can_claim -> lane[p] = LOOKING
    ::  !(rung[p] && can_claim) && POSTS(p) == 0 && (was_idle[p] || !rung[p]) -> lane[p] = OFF
    ::  else -> lane[p] = WAITING
    fi
}

inline end_post(p, d) {
    post[p].at[d] = IDLE;
    if
    ::  lane[p] == OFF && rung[p] -> lane[p] = LOOKING; woken[p] = 1
    ::  else -> woken[p] = 1
    fi
}

inline claim_one(p, d) {
    if
    ::  MAY_CLAIM(d) && room > 0 && post[p].at[d] == IDLE ->
        leased[d] = 1; token[d] = p + 1; holder[d] = (held[number[p]] -> number[p] : 0);
        post[p].got[d] = 1; room--
    ::  else
    fi
}

inline settle(p, d) {
    if
    ::  post[p].at[d] == GOOD -> state[d] = DELIVERED
    ::  post[p].at[d] == BAD && (!TOKEN || (leased[d] && token[d] == p + 1 && state[d] == PENDING)) ->
        assert(state[d] == PENDING);  /* what is delivered stays delivered */
        due[d] = 0
    ::  else
    fi;
    if
    ::  leased[d] && token[d] == p + 1 -> leased[d] = 0; token[d] = 0; holder[d] = 0
    ::  else
    fi
}

inline forget_lease(d) {
    leased[d] = 0; token[d] = 0; holder[d] = 0
}

inline send(p, d) {
    if
    ::  post[p].at[d] = GOOD
    ::  faults > 0 -> faults--; post[p].at[d] = BAD
    fi;
    printf("dispatcher %d|send|%e, ", p, post[p].at[d]); STATE
}

inline record_attempt(p, d) {
    settle(p, d);
    if
    ::  end_post(p, d); printf("dispatcher %d|settle|", p); STATE
    ::  faults > 0 -> faults--; printf("fault|lose answer of settle|"); STATE  /* it is repeated */
    fi
}

/* The dispatcher that holds the lease does not hold its lock. */
#define ABANDONED(d) (leased[d] && holder[d] && !held[holder[d]])

active proctype Idler() {
    byte d;
    do
    ::  d < MAILS ->
        if
        ::  RING_LAST ->
            atomic { up ->
record:         state[d] = PENDING; due[d] = 1; printf("idler|record|"); STATE };
            if
            ::  atomic { true ->
ring:           ring_doorbell(); printf("idler|ring|"); STATE }
            ::  atomic { faults > 0 ->
                faults--; printf("fault|lose ring|"); STATE }
            fi
        ::  else ->
            atomic { true ->
                ring_doorbell(); printf("idler|ring|"); STATE };
            atomic { up ->
                state[d] = PENDING; due[d] = 1; printf("idler|record|"); STATE }
        fi;
        d++
    ::  else -> break
    od
}

active [DISPATCHERS] proctype Dispatcher() {
    byte room;
    bit has_room;
    byte p = _pid - 1;
    do
    ::  atomic { life[p] == ALIVE && up && number[p] == 0 ->
start:      last_number++; number[p] = last_number; printf("dispatcher %d|start|", p); STATE }
    ::  atomic { life[p] == ALIVE && up && number[p] && !held[number[p]] ->
take_lock:  held[number[p]] = 1; printf("dispatcher %d|take_lock|", p); STATE }
    ::  atomic { life[p] == ALIVE && number[p] && redis && queued && job[p] == NONE ->
take_job:   queued = 0; taken = 1; job[p] = TAKEN; printf("dispatcher %d|take_job|", p); STATE }
    ::  atomic { life[p] == ALIVE && job[p] == TAKEN ->
raise_generation:
            if
            ::  GENERATION && redis -> taken = 0; job[p] = NONE
            ::  else -> job[p] = UNRAISED
            fi;
            ring_lane(p); printf("dispatcher %d|raise_generation|", p); STATE }
    ::  atomic { life[p] == ALIVE && job[p] == UNRAISED && lane[p] == OFF ->
finish_job: job[p] = NONE;
            if
            ::  redis -> taken = 0
            ::  else
            fi;
            printf("dispatcher %d|finish_job|", p); STATE }
    ::  atomic { life[p] == ALIVE && lane[p] == LOOKING ->
look:       woken[p] = 0; was_idle[p] = (POSTS(p) == 0);
            if
            ::  rung[p] && POSTS(p) < LIMIT ->
                lane[p] = CLAIMING;
                if
                ::  MARK_FIRST -> rung[p] = 0
                ::  else
                fi
            ::  else -> has_room = POSTS(p) < LIMIT; decide(p, has_room); has_room = 0
            fi;
            printf("dispatcher %d|look|", p); STATE }
    ::  atomic { life[p] == ALIVE && lane[p] == LOOKING && budgets > 0 ->
end_of_budget:
            budgets--; lane[p] = OFF;
            if
            ::  rung[p] -> ring_doorbell()
            ::  else
            fi;
            printf("dispatcher %d|end_of_budget|", p); STATE }
    ::  atomic { life[p] == ALIVE && lane[p] == CLAIMING && up ->
        room = LIMIT - (leased[0] + leased[1] < LIMIT -> leased[0] + leased[1] : LIMIT);
        room = (room < LIMIT - POSTS(p) -> room : LIMIT - POSTS(p));
claim:  claim_one(p, 0);
        claim_one(p, 1);
        is_all[p] = room > 0; room = 0; lane[p] = CLAIMED;
        assert(leased[0] + leased[1] <= LIMIT);
        printf("dispatcher %d|claim|", p); STATE }
    ::  atomic { life[p] == ALIVE && lane[p] == CLAIMED ->
start_posts:
        if
        ::  MARK_FIRST
        ::  else -> rung[p] = 0
        fi;
        has_room = is_all[p] || (LOOK_AGAIN && rung[p]);
        if
        ::  post[p].got[0] -> post[p].at[0] = SENDING; post[p].got[0] = 0
        ::  else
        fi;
        if
        ::  post[p].got[1] -> post[p].at[1] = SENDING; post[p].got[1] = 0
        ::  else
        fi;
        if
        ::  MARK_LEFT && !is_all[p] -> rung[p] = 1
        ::  else
        fi;
        decide(p, has_room); has_room = 0; is_all[p] = 0; was_idle[p] = 0;
        printf("dispatcher %d|start_posts|", p); STATE }
    ::  atomic { life[p] == ALIVE && (lane[p] == CLAIMED || lane[p] == CLAIMING) && (faults > 0 || !up) ->
lose_claim: faults = (up -> faults - 1 : faults);
            lane[p] = OFF; post[p].got[0] = 0; post[p].got[1] = 0; is_all[p] = 0; was_idle[p] = 0;
            printf("dispatcher %d|lose_claim|", p); STATE }
    ::  atomic { life[p] == ALIVE && lane[p] == WAITING && woken[p] ->
wake:       lane[p] = LOOKING; printf("dispatcher %d|wake|", p); STATE }
    ::  atomic { life[p] == ALIVE && lane[p] == WAITING && !woken[p] ->
yield:      lane[p] = OFF; printf("dispatcher %d|yield|", p); STATE }
    ::  atomic { life[p] == ALIVE && post[p].at[0] == SENDING -> send(p, 0) }
    ::  atomic { life[p] == ALIVE && post[p].at[1] == SENDING -> send(p, 1) }
    ::  atomic { life[p] == ALIVE && up && (post[p].at[0] == GOOD || post[p].at[0] == BAD) -> record_attempt(p, 0) }
    ::  atomic { life[p] == ALIVE && up && (post[p].at[1] == GOOD || post[p].at[1] == BAD) -> record_attempt(p, 1) }
    /* The sweeper. */
    ::  atomic { SWEEPER && life[p] == ALIVE && up && number[p] && sweeper == 0 ->
take_sweeper_lock:
            sweeper = number[p]; printf("dispatcher %d|take_sweeper_lock|", p); STATE }
    ::  atomic { sweeper == number[p] && sweeper && life[p] == ALIVE && up && ABANDONED(0) ->
release_held:
            forget_lease(0); printf("dispatcher %d|release_held|", p); STATE }
    ::  atomic { sweeper == number[p] && sweeper && life[p] == ALIVE && up && ABANDONED(1) ->
            forget_lease(1); printf("dispatcher %d|release_held|", p); STATE }
    ::  atomic { sweeper == number[p] && sweeper && life[p] == ALIVE && up && OVERDUE && redis && !queued &&
                 (!taken || (SKIP_DEAD_JOB && DEAD_JOB)) ->
ring_overdue:
            taken = 0; queued = 1; printf("dispatcher %d|ring_overdue|", p); STATE }
    ::  atomic { sweeper == number[p] && sweeper && life[p] == ALIVE && up && OVERDUE && !redis ->
start_lane: ring_lane(p); printf("dispatcher %d|start_lane|", p); STATE }
    od
}

/* Nobody sends the delivery under its lease. */
#define IN_HAND(p, d) (life[p] == ALIVE && (post[p].at[d] != IDLE || post[p].got[d]) && token[d] == p + 1)
#define ENDS(d) (LEASE_END && leased[d] && !IN_HAND(0, d) && !IN_HAND(1, d))

inline end_process(p) {
    job[p] = NONE; lane[p] = OFF; rung[p] = 0; woken[p] = 0; was_idle[p] = 0; is_all[p] = 0;
    post[p].at[0] = IDLE; post[p].at[1] = IDLE; post[p].got[0] = 0; post[p].got[1] = 0
}

inline lose_locks(n) {
    held[n] = 0;
    sweeper = (sweeper == n -> 0 : sweeper)
}

inline harm(p) {
    faults--;
    if
    ::  printf("fault|kill|dispatcher %d\n", p); lose_locks(number[p]); end_process(p); number[p] = 0
    ::  !has_hung -> printf("fault|hang|dispatcher %d\n", p); has_hung = 1; life[p] = HUNG; end_process(p)
    ::  held[number[p]] -> printf("fault|lose lock|dispatcher %d\n", p); lose_locks(number[p])
    fi
}

/* What may go wrong, and the passing of time. */
active proctype Faults() {
    byte n;
    do
    ::  atomic { faults > 0 && number[0] && life[0] == ALIVE -> harm(0) }
    ::  atomic { faults > 0 && number[1] && life[1] == ALIVE -> harm(1) }
    ::  atomic { faults > 0 && redis ->
            faults--; queued = 0; taken = 0; printf("fault|empty Redis|"); STATE }
    ::  atomic { faults > 0 && redis ->
            faults--; redis = 0; printf("fault|cut off Redis|"); STATE }
    ::  atomic { !redis ->
            redis = 1; printf("time|Redis is back|"); STATE }
    ::  atomic { faults > 0 && up ->
            faults--; up = 0; sweeper = 0;
            do
            ::  n < NUMBERS -> held[n] = 0; n++
            ::  else -> break
            od;
            n = 0; printf("fault|restart PostgreSQL|"); STATE }
    ::  atomic { !up ->
            up = 1; printf("time|PostgreSQL is back|"); STATE }
    ::  atomic { faults > 0 && leased[0] ->
            faults--; forget_lease(0); printf("fault|end lease early|"); STATE }
    ::  atomic { ENDS(0) ->
end_lease:  forget_lease(0); printf("time|end_lease|"); STATE }
    ::  atomic { ENDS(1) ->
            forget_lease(1); printf("time|end_lease|"); STATE }
    ::  atomic { state[0] == PENDING && !due[0] ->
fall_due:   due[0] = 1; printf("time|fall_due|"); STATE }
    ::  atomic { state[1] == PENDING && !due[1] ->
            due[1] = 1; printf("time|fall_due|"); STATE }
    ::  atomic { SILENCE && life[0] == HUNG && number[0] && (held[number[0]] || sweeper == number[0]) ->
end_silent: lose_locks(number[0]); printf("time|end_silent|dispatcher 0\n") }
    ::  atomic { SILENCE && life[1] == HUNG && number[1] && (held[number[1]] || sweeper == number[1]) ->
            lose_locks(number[1]); printf("time|end_silent|dispatcher 1\n") }
    od
}

/* Every run ends here: all is delivered, and no lane waits. */
active proctype Monitor() {
    timeout;
    assert(state[0] == DELIVERED && state[1] == DELIVERED);
    assert((lane[0] == OFF || life[0] == HUNG) && (lane[1] == OFF || life[1] == HUNG));
}

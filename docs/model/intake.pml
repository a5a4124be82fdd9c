/* Ownership of one shard by lease and epoch, and the fenced intake of one mailbox.
 *
 * Each label names a step; README.md maps the labels to the code. `atomic` is one SQL statement, or code without an
 * await. What runs periodically in the code is enabled here only while it has something to do, so that every run ends
 * in a state in which nothing is left to do; `Monitor` judges that state.
 */
#ifndef MAILS
#define MAILS 2
#endif
#ifndef SLOTS
#define SLOTS 2  /* idlers that run at once */
#endif
#ifndef FAULTS
#define FAULTS 2  /* of any kind, together */
#endif
#ifndef MOVES
#define MOVES 1  /* shards handed over or released */
#endif

/* Guards: each is removed by -DNAME=0. */
#ifndef FENCE
#define FENCE 1  /* a write asserts owner and epoch */
#endif
#ifndef KEY_SHARE
#define KEY_SHARE 1  /* a change of the epoch waits for writes in progress */
#endif
#ifndef LEASE
#define LEASE 1  /* a heartbeat expires */
#endif
#ifndef PRESENCE_LOCK
#define PRESENCE_LOCK 1  /* a process that marks an idler as absent holds its lock */
#endif
#ifndef ONE_STATEMENT
#define ONE_STATEMENT 1  /* cursor, messages and deliveries change together */
#endif
#ifndef UNIQUE_KEY
#define UNIQUE_KEY 1  /* (mailbox, UIDVALIDITY, UID) */
#endif
#ifndef CURSOR
#define CURSOR 1  /* a write asserts the cursor that the session read, or its own new one */
#endif
#ifndef RENEWAL
#define RENEWAL 1  /* an IDLE ends after a while, with a search */
#endif

#define IDS 6  /* 1 to 5: two at the start, and one more after each of three faults at most */

/* PostgreSQL: a row of `shards`, the rows of `idlers`, advisory locks, the mailbox, messages with their deliveries. */
bit up = 1;
byte owner, epoch, sharers, cursor;
bit row[IDS], fresh[IDS], shown[IDS], absent[IDS], held[IDS];
byte recorded[MAILS + 1];

/* The mail server. */
byte top = 1;
bit announced;

/* Idlers by slot. A process that is started again has a new id. */
mtype = { ALIVE, KILLED, HUNG };
mtype life[SLOTS] = ALIVE;
byte id[SLOTS], last_id, fence[SLOTS];
bit wanted[SLOTS], ended[SLOTS] = 1;

/* The statement of each session that PostgreSQL executes, whatever becomes of the session. */
mtype = { NONE, SENT, HOLDS, MOVED, MORE, RECORDED, FENCED, FAILED };
mtype statement[SLOTS] = NONE;
byte by[SLOTS], at_epoch[SLOTS], from[SLOTS], to[SLOTS];

byte faults = FAULTS, moves = MOVES;
bit has_hung;

#define MEMBER(i) (row[i] && !absent[i] && (!LEASE || fresh[i]))
#define FREE (owner == 0 || !MEMBER(owner))
#define STALE(s) (owner != id[s] || epoch != fence[s])
#define STATE printf("owner %d, epoch %d, cursor %d, recorded %d %d\n", owner, epoch, cursor, recorded[1], recorded[2])

/* The idler i does not hold its lock. */
#define MISSING(i) (i != me && row[i] && shown[i] && !absent[i] && !held[i])

/* The loops of an idler's process: heartbeat, presence, rounds. */
active [SLOTS] proctype Idler() {
    byte me, known, other, suspect;
    byte s = _pid;
START:
    {
        atomic { up ->
join:       last_id++; me = last_id; id[s] = me; row[me] = 1; fresh[me] = 1; printf("idler %d|join|", id[s]); STATE }
        do
        ::  atomic { up && row[me] && !fresh[me] ->
renew_lease:    fresh[me] = 1; printf("idler %d|renew_lease|", id[s]); STATE }
        ::  atomic { up && !row[me] ->
removed:        printf("idler %d|removed|", id[s]); STATE; break }
        ::  atomic { up && !held[me] ->
register:       held[me] = 1; shown[me] = 1; absent[me] = 0; printf("idler %d|register|", id[s]); STATE }
        ::  atomic { up && known && (owner != me || epoch != known) ->
lose_shard:     wanted[s] = 0; known = 0; printf("idler %d|lose_shard|", id[s]); STATE };
            ended[s]
        ::  atomic { up && !known && owner == me ->
receive_shard:  known = epoch; fence[s] = epoch; wanted[s] = 1; ended[s] = 0; printf("idler %d|receive_shard|", id[s]); STATE }
        ::  atomic { up && !known && MEMBER(me) && FREE && (sharers == 0 || !KEY_SHARE) ->
take_shard:     owner = me; epoch++; known = epoch; fence[s] = epoch; wanted[s] = 1; ended[s] = 0;
                printf("idler %d|take_shard|", id[s]); STATE }
        ::  atomic { up && known && moves > 0 ->
end_session:    moves--; wanted[s] = 0; printf("idler %d|end_session|", id[s]); STATE };
            ended[s];
            atomic { up && (sharers == 0 || !KEY_SHARE) ->
                other = (s + 1 < SLOTS -> id[s + 1] : id[0]);
                if
                ::  owner == me && row[other] ->
hand_over:          owner = other; epoch++; printf("idler %d|hand_over|", id[s]); STATE
                ::  owner == me ->
release:            owner = 0; printf("idler %d|release|", id[s]); STATE
                ::  owner != me
                fi;
                known = 0 }
        ::  atomic { up && suspect == 0 && (MISSING(1) || MISSING(2) || MISSING(3) || MISSING(4) || MISSING(5)) ->
                if
                ::  MISSING(1) -> suspect = 1
                ::  MISSING(2) -> suspect = 2
                ::  MISSING(3) -> suspect = 3
                ::  MISSING(4) -> suspect = 4
                ::  MISSING(5) -> suspect = 5
                fi;
look_at_others: printf("idler %d|look_at_others|", id[s]); STATE }
        ::  atomic { up && suspect ->
                if
                ::  row[suspect] && !absent[suspect] && (!held[suspect] || !PRESENCE_LOCK) ->
mark_absent:        absent[suspect] = 1; printf("idler %d|mark_absent|", id[s]); STATE
                ::  else
                fi;
                suspect = 0 }
        od
    } unless { life[s] != ALIVE };
    atomic {
        wanted[s] = 0; known = 0; other = 0; suspect = 0;
        if
        ::  life[s] != HUNG -> held[me] = 0
        ::  else
        fi };
    ended[s];
    atomic {
        life[s] != HUNG;
        life[s] = ALIVE; goto START }
}

/* The session of the user: catch-up, and IDLE. It ends at any step when its process or the shard is lost. */
active [SLOTS] proctype Session() {
    byte old;
    byte s = _pid - SLOTS;
    do
    ::  atomic { wanted[s] && life[s] == ALIVE && up && (!FENCE || !STALE(s)) && statement[s] != SENT && statement[s] != HOLDS ->
open_mailbox:   statement[s] = NONE; old = cursor; printf("idler %d|open_mailbox|", id[s]); STATE };
        {
            do
            ::  atomic { top > old && (announced || RENEWAL) ->
search:         from[s] = old; to[s] = top; by[s] = id[s]; at_epoch[s] = fence[s]; announced = 0; statement[s] = SENT;
                printf("idler %d|search|", id[s]); STATE };
                do
                ::  atomic { statement[s] == FAILED ->
repeat_statement:   statement[s] = SENT; printf("idler %d|repeat_statement|", id[s]); STATE }
                ::  atomic { statement[s] == MOVED ->
                statement[s] = MORE }
                ::  atomic { statement[s] == RECORDED ->
ring:               old = to[s]; statement[s] = NONE; printf("idler %d|ring|", id[s]); STATE; break }
                ::  atomic { statement[s] == FENCED ->
fenced:             statement[s] = NONE; printf("idler %d|fenced|", id[s]); STATE; goto OVER }
                od
            od
        } unless { life[s] != ALIVE || !wanted[s] };
OVER:   atomic {
            old = 0;
            if
            ::  statement[s] == SENT || statement[s] == HOLDS || statement[s] == MORE
            ::  else -> statement[s] = NONE
            fi }
    ::  atomic { !wanted[s] && !ended[s] ->
        ended[s] = 1 }
    od
}

/* PostgreSQL executes the statement that records mails: it goes on when its client has ended. */
active [SLOTS] proctype Statement() {
    byte uid;
    byte s = _pid - 2 * SLOTS;
    do
    ::  atomic { up && statement[s] == SENT ->
        if
        ::  !FENCE || (owner == by[s] && epoch == at_epoch[s]) ->
assert_fence:
            sharers++; statement[s] = HOLDS; printf("statement of idler %d|assert_fence|", by[s]); STATE
        ::  else -> statement[s] = FENCED; printf("statement of idler %d|refuse|", by[s]); STATE
        fi }
    ::  atomic { up && statement[s] == HOLDS ->
        sharers--;
        if
        ::  CURSOR && cursor != from[s] && cursor != to[s] -> statement[s] = FENCED
        ::  else ->
commit:     cursor = to[s]; printf("statement of idler %d|commit|", by[s]); STATE;
            assert(epoch == at_epoch[s]);  /* no two writers */
            if
            ::  ONE_STATEMENT -> statement[s] = RECORDED
            ::  else -> statement[s] = MOVED
            fi
        fi;
        if
        ::  statement[s] == FENCED || !ONE_STATEMENT
        ::  else ->
insert:     uid = from[s] + 1;
            do
            ::  uid <= to[s] ->
                if
                ::  UNIQUE_KEY && recorded[uid]
                ::  else -> recorded[uid]++
                fi;
                assert(recorded[uid] == 1);  /* no duplicate record */
                uid++
            ::  else -> break
            od;
            uid = 0;
            if
            ::  true
            ::  faults > 0 ->
lose_answer:    faults--; statement[s] = FAILED; printf("fault|lose answer|"); STATE
            fi
        fi }
    ::  atomic { up && statement[s] == MORE ->
        uid = from[s] + 1;
        do
        ::  uid <= to[s] -> recorded[uid] = 1; uid++
        ::  else -> break
        od;
        uid = 0; statement[s] = RECORDED }
    od
}

active proctype MailServer() {
    do
    ::  atomic { top < MAILS ->
        top++;
        if
        ::  !RENEWAL -> announced = 1; printf("mail server|announce|%d mails\n", top)
        ::  printf("mail server|show|%d mails\n", top)
        fi }
    od
}

/* What may go wrong, and the passing of time. */
/* The process with the id i has ended or hangs, so that no heartbeat follows. */
#define ENDS(i) (LEASE && fresh[i] && (i != id[0] || life[0] == HUNG) && (i != id[1] || life[1] == HUNG))
inline expire(i) {
    fresh[i] = 0;
    printf("time|expire|idler %d\n", i)
}

#define CAN_FAIL(s) (id[s] != 0 && life[s] == ALIVE)
inline harm(s) {
    faults--;
    i = id[s];
    if
    ::  printf("fault|kill|idler %d\n", i); life[s] = KILLED; held[i] = 0
    ::  !has_hung -> printf("fault|hang|idler %d\n", i); has_hung = 1; life[s] = HUNG
    ::  fresh[i] -> printf("fault|late heartbeat|idler %d\n", i); fresh[i] = 0
    ::  row[i] && !fresh[i] -> printf("fault|forget|idler %d\n", i); row[i] = 0;
        if
        ::  owner == i -> owner = 0
        ::  else
        fi
    ::  held[i] -> printf("fault|lose lock|idler %d\n", i); held[i] = 0
    fi;
    i = 0
}

active proctype Faults() {
    byte s, i;
    do
    ::  atomic { faults > 0 && CAN_FAIL(0) -> harm(0) }
    ::  atomic { faults > 0 && CAN_FAIL(1) -> harm(1) }
    ::  atomic { faults > 0 && up ->
        printf("fault|restart PostgreSQL|\n");
        faults--; up = 0; sharers = 0;
        do
        ::  s < SLOTS ->
            if
            ::  statement[s] == SENT || statement[s] == HOLDS || statement[s] == MORE -> statement[s] = FAILED
            ::  else
            fi;
            s++
        ::  else -> break
        od;
        s = 0;
        do
        ::  i < IDS -> held[i] = 0; i++
        ::  else -> break
        od;
        i = 0 }
    ::  atomic { !up -> up = 1 }
    ::  atomic { ENDS(1) -> expire(1) }
    ::  atomic { ENDS(2) -> expire(2) }
    ::  atomic { ENDS(3) -> expire(3) }
    ::  atomic { ENDS(4) -> expire(4) }
    ::  atomic { ENDS(5) -> expire(5) }
    od
}

/* Every run ends here: all mail is recorded, once. */
active proctype Monitor() {
    byte uid;
    timeout;
    assert(top == MAILS && cursor == MAILS);
    uid = 1;
    do
    ::  uid <= MAILS -> assert(recorded[uid] == 1); uid++
    ::  else -> break
    od
}

/* The protocol of a campaign, for the model checker Spin; `python -m model` runs it.
 *
 * One campaign of N messages, one shard, two sender instances, a status service with two
 * result streams and its database, and a person. Every process may be killed between any
 * two of its steps; frames, acknowledgements and states are lost, late and out of order as
 * in the services. What a transaction does is one atomic step.
 *
 * A macro BUG_... puts one mistake in. Without one no assertion may fail; with one an
 * assertion must. The names S3 ... S17 are those of docs/reliability.md.
 */

#ifndef N
#define N 2
#endif
#ifndef KILLS
#define KILLS 2
#endif
#ifndef EXPIRIES
#define EXPIRIES 1
#endif
#ifndef WISHES
#define WISHES 3
#endif

#define ALL ((1 << N) - 1)
#define NOBODY 2
#define PAIR(i) for (i : 0 .. 1)

/* States of a campaign; NONE: an instance has not heard of one. */
#define NONE 0
#define SENDING 1
#define PAUSED 2
#define COMPLETED 3
#define CANCELLED 4
#define TERMINAL(s) ((s) >= COMPLETED)

/* The status database. Sets of messages are bits. */
byte state = SENDING;
byte revision = 1;
byte rows = 0;
byte processed = 0;
byte completions = 0;

/* The sender's database: one shard. */
byte epoch = 0;
byte owner = NOBODY;
byte intent_through = 0;
byte journal = 0;
byte reported = 0;

/* What the provider got, a count for each message. */
byte handed[N];

/* The connection of each instance: frames up, and two ways for a state down. */
chan frames[2] = [1] of { byte };
chan receipts[2] = [1] of { byte, byte, byte };
chan changes[2] = [6] of { byte, byte };
bool connected[2];

/* How many faults and wishes are left. */
byte kills = KILLS;
byte expiries = EXPIRIES;
byte wishes = WISHES;

inline announce() {
	if
	:: connected[0] -> changes[0]!state, revision
	:: else
	fi;
	if
	:: connected[1] -> changes[1]!state, revision
	:: else
	fi
}

/* Part of a transaction: the one way to another state. */
inline enter(to) {
	assert(!TERMINAL(state)); /* S6 */
	state = to;
	revision++;
	if
	:: to == COMPLETED ->
		completions++;
		assert(completions == 1); /* S4 */
		assert(rows == ALL) /* S3 */
	:: else
	fi;
	announce()
}

/* Part of a transaction: the results of a frame, merged; `one` and `left` are of the caller. */
inline store(results) {
	left = results & ~rows;
	rows = rows | results;
	one = 1;
	do
	:: one <= ALL ->
		if
		:: left & one -> processed++
		:: else
		fi;
		one = one << 1
	:: else -> break
	od;
	left = 0;
	one = 0
}

inline complete_if_full() {
	if
	:: processed == N && !TERMINAL(state) -> enter(COMPLETED)
	:: else
	fi
}

/* A connection that ends forgets what is under way in both directions. */
inline disconnect(i) {
	connected[i] = false;
	do
	:: frames[i]?[_] -> frames[i]?_
	:: receipts[i]?[_, _, _] -> receipts[i]?_, _, _
	:: changes[i]?[_, _] -> changes[i]?_, _
	:: else -> break
	od
}

/* One stream of the status service, in one of its processes. */
proctype Stream(byte me) {
	byte results, one, left;
	byte receipt_state, receipt_revision;
end:	do
	:: frames[me]?results;
#ifdef BUG_ACKNOWLEDGED_BEFORE_COMMIT
		if
		:: atomic { connected[me] -> receipts[me]!results, state, revision }
		:: atomic { !connected[me] -> skip }
		fi;
#endif
		if
		:: atomic { /* the transaction */
			store(results);
#ifndef BUG_COMPLETION_OUTSIDE
			complete_if_full();
#endif
			receipt_state = state;
			receipt_revision = revision
		}
		:: atomic { kills > 0 -> kills--; disconnect(me); goto next }
		fi;
#ifdef BUG_COMPLETION_OUTSIDE
		if
		:: atomic { processed == N && !TERMINAL(state) -> skip };
			if
			:: atomic { state = COMPLETED; revision++; completions++;
				assert(completions == 1); announce() }
			:: atomic { kills > 0 -> kills--; disconnect(me); goto next }
			fi
		:: atomic { !(processed == N && !TERMINAL(state)) -> skip }
		fi;
#endif
#ifndef BUG_ACKNOWLEDGED_BEFORE_COMMIT
		if
		:: atomic { connected[me] -> receipts[me]!results, receipt_state, receipt_revision }
		:: atomic { !connected[me] -> skip }
		:: atomic { kills > 0 -> kills--; disconnect(me) }
		fi;
#endif
next:		atomic { results = 0; receipt_state = NONE; receipt_revision = 0 }
	:: atomic { connected[me] && kills > 0 -> kills--; disconnect(me) }
	od
}

/* What an instance hears of the state of the campaign. */
inline hear(heard_state, heard_revision) {
#ifndef BUG_STATE_WITHOUT_REVISION
	if
	:: heard_revision > known_revision ->
		known = heard_state; known_revision = heard_revision
	:: else
	fi;
#else
	known = heard_state;
	known_revision = heard_revision;
#endif
	if
	:: heard_revision > highest -> highest = heard_revision; highest_state = heard_state
	:: else
	fi;
	assert(known_revision == highest) /* S16 */
}

/* An instance that lost its lease, or was killed, knows nothing of the shard any more. */
inline let_go() {
	my_epoch = 0;
	message = 0;
	taken = false;
	given = false;
	under_way = 0
}

/* One sender instance. */
proctype Sender(byte me) {
	byte known = NONE, known_revision = 0; /* what it believes the state to be */
	byte highest = 0, highest_state = NONE; /* what it heard, for the assertions */
	byte my_epoch = 0;
	byte message = 0; /* the next to be taken, or the one in hand */
	bool taken = false; /* its intent is committed */
	bool given = false; /* the provider has it */
	byte under_way = 0; /* in frames that are not acknowledged */
	byte set, heard_state, heard_revision;
end:	do
	/* The first thing that a connection says is what the database says. */
	:: atomic { !connected[me] ->
		connected[me] = true;
		known = NONE; known_revision = 0; highest = 0; highest_state = NONE;
		under_way = 0;
		changes[me]!state, revision }

	/* Claim the shard: nobody has it, its owner is gone, or its lease ran out. */
	:: atomic { my_epoch == 0 && known == SENDING && (owner == NOBODY || expiries > 0) &&
			owner != me ->
		if
		:: owner != NOBODY -> expiries--
		:: else
		fi;
		epoch++;
		my_epoch = epoch;
		owner = me;
		/* Above the intent: never tried. Below, without an outcome: UNKNOWN. */
		message = intent_through;
		journal = journal | ((1 << intent_through) - 1) }

#ifndef BUG_INTENT_AFTER_SENDING
	/* Raise the intent. */
	:: atomic { my_epoch && !taken && message < N && known == SENDING ->
		if
#ifdef BUG_TAKEOVER_WITHOUT_FENCE
		:: true -> intent_through = message + 1; taken = true
#else
		:: epoch == my_epoch -> intent_through = message + 1; taken = true
		:: else -> let_go()
#endif
		fi }

	/* Hand the message over. */
	:: atomic { taken && !given && known == SENDING ->
		assert(highest_state == SENDING); /* S17 */
		handed[message]++;
		assert(handed[message] == 1); /* S10 */
		given = true }
#else
	:: atomic { my_epoch && !taken && message < N && known == SENDING ->
		handed[message]++;
		assert(handed[message] == 1); /* S10 */
		given = true;
		taken = true }
	:: atomic { taken && given && intent_through == message ->
		if
		:: epoch == my_epoch -> intent_through = message + 1
		:: else -> let_go()
		fi }
#endif

	/* Write down what became of it. */
	:: atomic { taken && given && (intent_through > message || epoch != my_epoch) ->
		if
#ifdef BUG_TAKEOVER_WITHOUT_FENCE
		:: true ->
#else
		:: epoch != my_epoch -> let_go()
		:: epoch == my_epoch ->
#endif
			journal = journal | (1 << message);
			message++;
			taken = false;
			given = false
		fi }

	/* Report what is in the journal. */
	:: atomic { my_epoch && connected[me] && nfull(frames[me]) &&
			(journal & ~reported & ~under_way) ->
		set = journal & ~reported & ~under_way;
		frames[me]!set;
		under_way = under_way | set;
		set = 0 }

	/* An acknowledgement. */
	:: atomic { receipts[me]?set, heard_state, heard_revision ->
		assert((set & ~rows) == 0); /* S7 */
		under_way = under_way & ~set;
		if
		:: my_epoch && epoch == my_epoch -> reported = reported | set
		:: else -> let_go()
		fi;
		hear(heard_state, heard_revision);
		set = 0; heard_state = NONE; heard_revision = 0 }

	/* A change of the state. */
	:: atomic { changes[me]?heard_state, heard_revision ->
		hear(heard_state, heard_revision);
		heard_state = NONE; heard_revision = 0 }

#ifdef BUG_END_OF_STREAM_IS_THE_END
	:: atomic { !connected[me] && my_epoch && under_way ->
		reported = reported | under_way;
		under_way = 0 }
#endif

	/* Killed, and started again. */
	:: atomic { kills > 0 && connected[me] ->
		kills--;
		disconnect(me);
		known = NONE; known_revision = 0; highest = 0; highest_state = NONE;
		let_go();
		if
		:: owner == me -> owner = NOBODY
		:: else
		fi }
	od
}

/* Whoever pauses, resumes, cancels and repairs. */
proctype Person() {
	do
	:: atomic { wishes > 0 && state == SENDING -> wishes--; enter(PAUSED) }
	:: atomic { wishes > 0 && state == PAUSED -> wishes--; enter(SENDING) }
	:: atomic { wishes > 0 && !TERMINAL(state) -> wishes--; enter(CANCELLED) }
	/* MarkComplete, a scan, and the pass at the start are the same transaction. */
	:: atomic { wishes > 0 && !TERMINAL(state) && processed == N -> wishes--;
		complete_if_full() }
	:: atomic { wishes == 0 || TERMINAL(state) -> break }
	:: atomic { state == SENDING -> break }
	od
}

/* Faults have ended and nothing can move: it must be over. */
proctype End() {
	timeout;
	atomic {
		assert(state != SENDING); /* L1: nobody waits for ever */
		assert(state != COMPLETED || rows == ALL); /* S3 */
		assert((reported & ~rows) == 0) /* S7 */
	}
}

init {
	atomic {
		run Stream(0);
		run Stream(1);
		run Sender(0);
		run Sender(1);
		run Person();
		run End()
	}
}

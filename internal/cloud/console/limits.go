package console

import "time"

// What the console keeps and does at most. The cloud must not grow or slow
// down by what strangers publish or by how many pages are open.
const (
	maxBoards  = 500      // the one that was silent for longest goes first
	maxPayload = 16 << 10 // bytes; a larger message is no reading
	maxID      = 128      // bytes of a board's id; a longer one is no board
	maxFields  = 16       // of a board
	maxName    = 64       // bytes of a field's name; longer ones are left out
	maxText    = 200      // bytes shown of a value that is text

	maxSeries   = 500 // fields of boards whose points are kept in memory
	maxPoints   = 600 // kept of each, and drawn of each
	maxNewTick  = 8   // readings of one board that a tick tells
	maxStreams  = 32  // live streams
	maxRefusals = 100 // shown
	maxReads    = 2   // reads of the tables at a time

	watchBuffer = 1024 // messages that wait to be looked at
	tickBudget  = 1000 // messages looked at in one tick
	topicBudget = 250  // of these, of one topic

	tick      = 250 * time.Millisecond
	slowTicks = 8  // ticks between two looks at the counters
	heartbeat = 60 // ticks between two comments on a silent stream

	streamBuffer = 64               // events that wait for a slow page before it is cut off
	writeWithin  = 10 * time.Second // for one event to a page

	warmTables = 8  // tables that a start looks into
	warmRows   = 24 // newest rows of each board: enough to learn its interval

	historyBoards = 12     // in one answer
	historyTables = 4      // read for each board
	historyRows   = 20_000 // read for each board before sampling
	historySlices = 150    // parts that a long range is sampled in

	rowsDefault    = 50
	rowsMax        = 200
	rowsPartitions = 200 // whose newest rows are compared
	rowsColumns    = 40
)

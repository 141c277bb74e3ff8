package store

// spaceNames says in a word what each key space holds.
var spaceNames = map[Space]string{
	SpaceMeta:     "store",
	SpaceRegistry: "registry",
	SpaceRoute:    "routes",
	SpaceRule:     "rules",
	SpaceTable:    "tables",
	SpaceItem:     "items",
	SpaceSession:  "sessions",
	SpaceQueue:    "queued messages",
	SpaceRetained: "retained messages",
	SpaceOutbox:   "outbox",
	SpaceDest:     "destinations",
	SpaceShadow:   "shadows",
	SpaceIndex:    "indexes",
	SpaceStream:   "streams",
	SpaceToken:    "transaction tokens",
	SpaceBackup:   "backups of tables",
	SpaceJobs:     "jobs",
}

// Name says in a word what the space holds, "" for one that nobody owns.
func (s Space) Name() string { return spaceNames[s] }

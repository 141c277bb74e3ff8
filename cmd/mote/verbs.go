//go:build !gateway

package main

// kind says in the version which build this is.
const kind = ""

// cli is the command line.
type cli struct {
	hostVerbs
	carryVerbs
	cloudVerbs
	toolVerbs
}

// hostVerbs run the cloud.
type hostVerbs struct {
	Up    upCmd    `cmd:"" help:"Run everything on this machine: cloud, gateway and two simulated boards."`
	Cloud cloudCmd `cmd:"" help:"Run the cloud: MQTT broker, rules, tables, AWS APIs, console."`
}

// cloudVerbs work on a cloud's data, on its rules and on tables.
type cloudVerbs struct {
	Query   queryCmd   `cmd:"" help:"Print rows of a table."`
	Export  exportCmd  `cmd:"" help:"Write the rows of a table to a file: CSV, JSON lines or Parquet."`
	Import  importCmd  `cmd:"" help:"Put the rows of a CSV or JSON lines file into a table."`
	Rule    ruleCmd    `cmd:"" help:"Try rules: what they make of a message, how their SQL is understood."`
	Policy  policyCmd  `cmd:"" help:"Say what a device may do, and which statement of its policies decides."`
	Account accountCmd `cmd:"" help:"Manage the MQTT accounts of the running cloud: names with passwords."`
	Backup  backupCmd  `cmd:"" help:"Copy a cloud's data to a directory, also while it runs."`
	Restore restoreCmd `cmd:"" help:"Make a data directory of a backup."`
	Verify  verifyCmd  `cmd:"" help:"Read all data of a cloud or a backup, and say what is damaged."`
	Env     envCmd     `cmd:"" help:"Print the shell exports that point AWS tools at the cloud on this machine."`
}

package test

import "testing"

// TestTablesWithBoto3 works on tables as a program does that was written for
// DynamoDB: pages, segments, limits, indexes for tables that have items,
// streams, PartiQL, transactions, expiry, backups and exports.
func TestTablesWithBoto3(t *testing.T) {
	h := startHost(t, t.TempDir(), "cloud")
	t.Logf("boto3 %s", h.mustRun("/usr/bin/python3", "testdata/tables.py", h.ep.HTTP))
}

package dynamodb

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/cloud/table/remote"
	"mote/internal/cloud/table/tabletest"
)

var conformKeys = aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}

// TestConformance runs one suite against the embedded engine, against
// dynalite, a server that others wrote, and against mote before dynalite.
func TestConformance(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		server, _ := serve(t)
		tabletest.Conform(t, tabletest.Server{URL: server.URL, Credentials: conformKeys})
	})
	t.Run("dynalite", func(t *testing.T) {
		t.Parallel()
		tabletest.Conform(t, tabletest.Server{URL: tabletest.StartDynalite(t, "").URL, Credentials: conformKeys, Except: dynaliteLacks})
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c, err := remote.Open(remote.Options{
			URL: tabletest.StartDynalite(t, "").URL, Credentials: func(context.Context) (aws.Credentials, error) { return conformKeys, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		server := httptest.NewServer(NewForward(c, Options{}))
		t.Cleanup(server.Close)
		tabletest.Conform(t, tabletest.Server{URL: server.URL, Credentials: conformKeys, Except: dynaliteLacks})
	})
}

// dynaliteLacks are the cases in which dynalite 4.0.0 does not answer as
// DynamoDB does.
var dynaliteLacks = map[string]string{
	"tables":       "a table that exists already is refused without a text",
	"transactions": "TransactWriteItems and TransactGetItems are not offered",
}

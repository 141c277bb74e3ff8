package test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/parquet-go/parquet-go"
)

// makeTable makes a table with the keys of readings.
func (h *host) makeTable(name string) {
	h.t.Helper()
	_, err := dynamodb.NewFromConfig(h.aws()).CreateTable(h.t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("time"), KeyType: types.KeyTypeRange}},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}, {AttributeName: aws.String("time"), AttributeType: types.ScalarAttributeTypeS}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// mote runs a verb with input and returns both outputs.
func (h *host) mote(input string, args ...string) (stdout, stderr string, err error) {
	h.t.Helper()
	cmd := exec.Command(binary, append(args, "--data", h.data)...)
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (h *host) mustMote(input string, args ...string) string {
	h.t.Helper()
	out, errs, err := h.mote(input, args...)
	if err != nil {
		h.t.Fatalf("mote %s: %v\n%s", strings.Join(args, " "), err, errs)
	}
	return out
}

// TestExportAndImport takes rows of every type out of a table and puts them
// into another, in each format that can hold them.
func TestExportAndImport(t *testing.T) {
	h := startHost(t, t.TempDir(), "cloud")
	h.makeTable("from")
	const item = `{"Item":{"id":{"S":"1"},"time":{"S":"2026-11-22T10:00:00.000Z"},"dust":{"N":"35.2"},"big":{"N":"12345678901234567890123456789012345678"},` +
		`"raw":{"B":"AAE="},"ok":{"BOOL":true},"none":{"NULL":true},"tags":{"SS":["a"]},"ns":{"NS":["1"]},"bs":{"BS":["AA=="]},"more":{"M":{"l":{"L":[{"N":"1"}]}}}}}`
	var lines strings.Builder
	lines.WriteString(item + "\n")
	for i := range 2000 {
		fmt.Fprintf(&lines, "{\"id\":\"2\",\"time\":\"t%04d\",\"dust\":%d}\n", i, i)
	}
	lines.WriteString("\n{\"id\":\"2\",\"time\":\"t0000\",\"dust\":-1}\n") // the last of equal keys stays
	h.mustMote(lines.String(), "import", "from")

	typed := h.mustMote("", "export", "from", "--format", "dynamodb")
	h.makeTable("typed")
	h.mustMote(typed, "import", "typed")
	if again := h.mustMote("", "export", "typed", "--format", "dynamodb"); again != typed {
		t.Error("export, import, export gave another text")
	}
	if n := strings.Count(typed, "\n"); n != 2001 || !strings.Contains(typed, `"bs":{"BS":["AA=="]}`) || !strings.Contains(typed, `"time":{"S":"t0000"}`) ||
		!strings.Contains(typed, `{"Item":{"dust":{"N":"-1"},"id":{"S":"2"},"time":{"S":"t0000"}}}`) {
		t.Errorf("typed export has %d lines", n)
	}
	h.throughBucket(t, typed)
	h.throughCSV(t)
	h.throughParquet(t)
	for file, says := range map[string]string{"": "the file is empty", "id,time,id\n": `column 3 is called "id"`} {
		if _, errs, err := h.mote(file, "import", "from", "--format", "csv"); err == nil || !strings.Contains(errs, says) {
			t.Errorf("CSV file %q: %v %s", file, err, errs)
		}
	}
	if _, errs, err := h.mote("{\"id\":\"x\"}\n", "import", "from"); err == nil || !strings.Contains(errs, "line 1: the key time is missing") {
		t.Errorf("a row without its key: %v %s", err, errs)
	}
}

// throughBucket takes the rows through the files of ExportTableToPointInTime.
func (h *host) throughBucket(t *testing.T, typed string) {
	c := dynamodb.NewFromConfig(h.aws())
	from, err := c.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("from")})
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.ExportTableToPointInTime(t.Context(), &dynamodb.ExportTableToPointInTimeInput{TableArn: from.Table.TableArn, S3Bucket: aws.String("exports")})
	if err != nil {
		t.Fatal(err)
	}
	d := made.ExportDescription
	for end := time.Now().Add(time.Minute); d.ExportStatus == types.ExportStatusInProgress && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		now, err := c.DescribeExport(t.Context(), &dynamodb.DescribeExportInput{ExportArn: d.ExportArn})
		if err != nil {
			t.Fatal(err)
		}
		d = now.ExportDescription
	}
	if d.ExportStatus != types.ExportStatusCompleted || *d.ItemCount != 2001 {
		t.Fatalf("%+v", d)
	}
	files, err := filepath.Glob(filepath.Join(h.data, "buckets", "exports", filepath.Dir(*d.ExportManifest), "data", "*.json.gz"))
	if err != nil || len(files) != 1 {
		t.Fatalf("data files %q, %v", files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	h.makeTable("unzipped")
	h.mustMote(string(lines), "import", "unzipped")
	if again := h.mustMote("", "export", "unzipped", "--format", "dynamodb"); again != typed {
		t.Error("the rows that came through a bucket are others")
	}
}

func (h *host) throughCSV(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows.csv")
	h.mustMote("", "export", "from", "--key", "id=2", "--out", path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil || len(rows) != 2001 || strings.Join(rows[0], " ") != "id time dust" || strings.Join(rows[2], " ") != "2 t0001 1" {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	h.makeTable("csv")
	h.mustMote("", "import", "csv", path)
	if got, want := h.mustMote("", "export", "csv", "--format", "dynamodb"), h.mustMote("", "export", "from", "--key", "id=2", "--format", "dynamodb"); got != want {
		t.Error("rows that went through CSV are not the same")
	}
}

func (h *host) throughParquet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows.parquet")
	h.mustMote("", "export", "from", "--out", path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	p, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]parquet.Kind{}
	for _, c := range p.Root().Columns() {
		kinds[c.Name()] = c.Type().Kind()
	}
	if p.NumRows() != 2001 || kinds["dust"] != parquet.Double || kinds["big"] != parquet.ByteArray || kinds["ok"] != parquet.Boolean {
		t.Errorf("%d rows with %v", p.NumRows(), kinds)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

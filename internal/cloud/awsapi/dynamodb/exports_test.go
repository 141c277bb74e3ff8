package dynamodb

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mote/internal/cloud/table"
	"mote/internal/watch"
)

const airArn = "arn:aws:dynamodb:us-east-1:000000000001:table/air"

// exporting serves the API with a directory for buckets.
func exporting(t *testing.T) (c *dynamodb.Client, h *Handler, buckets string) {
	t.Helper()
	server, h := serve(t)
	buckets = t.TempDir()
	h.buckets = func() (*os.Root, error) { return os.OpenRoot(buckets) }
	return sdkOn(t, server.URL), h, buckets
}

func exportEnds(t *testing.T, c *dynamodb.Client, arn *string) (d *types.ExportDescription) {
	t.Helper()
	watch.Until(t, "the end of the export", func() bool {
		got, err := c.DescribeExport(t.Context(), &dynamodb.DescribeExportInput{ExportArn: arn})
		if err != nil {
			t.Fatal(err)
		}
		d = got.ExportDescription
		return d.ExportStatus != types.ExportStatusInProgress
	})
	return d
}

// TestExportBySDK exports a table, and finds in the files what a scan gives.
func TestExportBySDK(t *testing.T) {
	c, _, buckets := exporting(t)
	makeAir(t, c)
	for i := range 300 {
		_, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("air"), Item: map[string]types.AttributeValue{
			"id": str(fmt.Sprint(i % 7)), "time": str(fmt.Sprint(i)), "n": num("1.5"), "blob": &types.AttributeValueMemberB{Value: []byte{0, byte(i)}},
			"deep": &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"äöü \"\n": &types.AttributeValueMemberNULL{Value: true}}},
			"set":  &types.AttributeValueMemberNS{Value: []string{"1", "2"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := scanned(t, c)
	request := &dynamodb.ExportTableToPointInTimeInput{TableArn: aws.String(airArn), S3Bucket: aws.String("my-exports"), S3Prefix: aws.String("2026/air/"),
		ClientToken: aws.String("once"), ExportFormat: types.ExportFormatDynamodbJson, ExportType: types.ExportTypeFullExport, ExportTime: aws.Time(time.Now())}
	made, err := c.ExportTableToPointInTime(t.Context(), request)
	if err != nil || made.ExportDescription.ExportStatus != types.ExportStatusInProgress {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := c.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String("air"), Key: map[string]types.AttributeValue{"id": str("0"), "time": str("0")}}); err != nil {
		t.Fatal(err)
	}
	d := exportEnds(t, c, made.ExportDescription.ExportArn)
	if d.ExportStatus != types.ExportStatusCompleted || *d.ItemCount != 300 || *d.BilledSizeBytes < 300 || *d.S3Bucket != "my-exports" || *d.S3Prefix != "2026/air" ||
		d.EndTime == nil || time.Since(*d.ExportTime) > time.Minute || *d.TableArn != airArn || d.ExportFormat != types.ExportFormatDynamodbJson {
		t.Fatalf("%+v", d)
	}
	if got := exportedLines(t, filepath.Join(buckets, "my-exports"), d); !maps.Equal(got, want) {
		t.Errorf("the files have %d items, the scan %d, or they differ", len(got), len(want))
	}
	again, err := c.ExportTableToPointInTime(t.Context(), request)
	if err != nil || *again.ExportDescription.ExportArn != *d.ExportArn {
		t.Errorf("the same token: %+v, %v", again, err)
	}
	request.S3Bucket = aws.String("others")
	if _, err := c.ExportTableToPointInTime(t.Context(), request); !isError[*types.ExportConflictException](err) {
		t.Errorf("the same token for another bucket: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(buckets, exportParts)); err != nil || len(left) != 0 {
		t.Errorf("parts are left: %v, %v", left, err)
	}
	listsExports(t, c, *d.ExportArn)
}

func isError[E error](err error) bool { _, ok := errors.AsType[E](err); return ok }

// scanned returns the items as the lines that an export has of them.
func scanned(t *testing.T, c *dynamodb.Client) map[string]bool {
	t.Helper()
	pages, all := dynamodb.NewScanPaginator(c, &dynamodb.ScanInput{TableName: aws.String("air")}), map[string]bool{}
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			i := item["time"].(*types.AttributeValueMemberS).Value
			blob := base64.StdEncoding.EncodeToString(item["blob"].(*types.AttributeValueMemberB).Value)
			all[canonical(t, []byte(fmt.Sprintf(`{"Item":{"id":{"S":%q},"time":{"S":%q},"n":{"N":"1.5"},"blob":{"B":%q},"deep":{"M":{"äöü \"\n":{"NULL":true}}},"set":{"NS":["1","2"]}}}`,
				item["id"].(*types.AttributeValueMemberS).Value, i, blob)))] = true
		}
	}
	return all
}

// canonical is the JSON with its members in order.
func canonical(t *testing.T, text []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	out, _ := json.Marshal(v)
	return string(out)
}

// exportedLines follows the manifest to the lines of an export, and holds each
// file to its checksum.
func exportedLines(t *testing.T, bucket string, d *types.ExportDescription) map[string]bool {
	t.Helper()
	read := func(key string) []byte {
		name := filepath.Join(bucket, filepath.FromSlash(key))
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", key, info.Mode(), err)
		}
		return data
	}
	summed := func(key string) []byte {
		data := read(key)
		if sum := md5.Sum(data); string(read(strings.TrimSuffix(key, ".json")+".md5")) != base64.StdEncoding.EncodeToString(sum[:]) {
			t.Errorf("%s is not what its checksum says", key)
		}
		return data
	}
	base := "2026/air/AWSDynamoDB/" + (*d.ExportArn)[strings.LastIndexByte(*d.ExportArn, '/')+1:]
	if *d.ExportManifest != base+"/manifest-summary.json" {
		t.Errorf("manifest %s", *d.ExportManifest)
	}
	var summary struct {
		ExportArn, TableArn, S3Bucket, S3Prefix, ManifestFilesS3Key, OutputFormat string
		ItemCount, BilledSizeBytes                                                int64
	}
	if err := json.Unmarshal(summed(*d.ExportManifest), &summary); err != nil {
		t.Fatal(err)
	}
	if summary.ExportArn != *d.ExportArn || summary.TableArn != airArn || summary.S3Bucket != "my-exports" || summary.S3Prefix != "2026/air" || summary.ItemCount != 300 ||
		summary.BilledSizeBytes != *d.BilledSizeBytes || summary.OutputFormat != "DYNAMODB_JSON" || summary.ManifestFilesS3Key != base+"/manifest-files.json" {
		t.Errorf("%+v", summary)
	}
	lines := map[string]bool{}
	for entry := range bytes.Lines(summed(summary.ManifestFilesS3Key)) {
		var file struct {
			ItemCount                        int
			Md5Checksum, Etag, DataFileS3Key string
		}
		if err := json.Unmarshal(entry, &file); err != nil {
			t.Fatal(err)
		}
		data, before := read(file.DataFileS3Key), len(lines)
		if sum := md5.Sum(data); file.Md5Checksum != base64.StdEncoding.EncodeToString(sum[:]) || file.Etag != hex.EncodeToString(sum[:]) {
			t.Errorf("%+v: not the file's checksums", file)
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		text := bufio.NewScanner(z)
		for text.Scan() {
			lines[canonical(t, text.Bytes())] = true
		}
		if text.Err() != nil || len(lines)-before != file.ItemCount {
			t.Errorf("%+v has %d items, %v", file, len(lines)-before, text.Err())
		}
	}
	return lines
}

// listsExports pages through two exports, the latest first.
func listsExports(t *testing.T, c *dynamodb.Client, first string) {
	t.Helper()
	made, err := c.ExportTableToPointInTime(t.Context(), &dynamodb.ExportTableToPointInTimeInput{TableArn: aws.String(airArn), S3Bucket: aws.String("others")})
	if err != nil {
		t.Fatal(err)
	}
	second := exportEnds(t, c, made.ExportDescription.ExportArn)
	if second.ExportStatus != types.ExportStatusCompleted || *second.ItemCount != 299 || !strings.HasPrefix(*second.ExportManifest, "AWSDynamoDB/") {
		t.Errorf("%+v", second)
	}
	var arns []string
	for pages := dynamodb.NewListExportsPaginator(c, &dynamodb.ListExportsInput{TableArn: aws.String(airArn), MaxResults: aws.Int32(1)}); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		if err != nil || len(page.ExportSummaries) != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		arns = append(arns, *page.ExportSummaries[0].ExportArn)
	}
	if !slices.Equal(arns, []string{*second.ExportArn, first}) {
		t.Errorf("%q", arns)
	}
	if other, err := c.ListExports(t.Context(), &dynamodb.ListExportsInput{TableArn: aws.String(airArn + "2")}); err != nil || len(other.ExportSummaries) != 0 {
		t.Errorf("%+v, %v", other, err)
	}
}

func TestRefusedExports(t *testing.T) {
	c, h, buckets := exporting(t)
	makeAir(t, c)
	for says, change := range map[string]func(*dynamodb.ExportTableToPointInTimeInput){
		"ExportFormat ION":           func(r *dynamodb.ExportTableToPointInTimeInput) { r.ExportFormat = types.ExportFormatIon },
		"incremental exports":        func(r *dynamodb.ExportTableToPointInTimeInput) { r.ExportType = types.ExportTypeIncrementalExport },
		"InvalidExportTimeException": func(r *dynamodb.ExportTableToPointInTimeInput) { r.ExportTime = aws.Time(time.Now().Add(-time.Minute)) },
		"not offer S3SseAlgorithm":   func(r *dynamodb.ExportTableToPointInTimeInput) { r.S3SseAlgorithm = types.S3SseAlgorithmKms },
		"TableNotFoundException":     func(r *dynamodb.ExportTableToPointInTimeInput) { r.TableArn = aws.String(airArn + "2") },
		"S3Prefix: a/../../b":        func(r *dynamodb.ExportTableToPointInTimeInput) { r.S3Prefix = aws.String("a/../../b") },
		"S3Bucket: ../b":             func(r *dynamodb.ExportTableToPointInTimeInput) { r.S3Bucket = aws.String("../b") },
		"S3Bucket: .parts":           func(r *dynamodb.ExportTableToPointInTimeInput) { r.S3Bucket = aws.String(".parts") },
		"S3Bucket: My-Bucket":        func(r *dynamodb.ExportTableToPointInTimeInput) { r.S3Bucket = aws.String("My-Bucket") },
		"S3Bucket: 127.0.0.1":        func(r *dynamodb.ExportTableToPointInTimeInput) { r.S3Bucket = aws.String("127.0.0.1") },
	} {
		r := &dynamodb.ExportTableToPointInTimeInput{TableArn: aws.String(airArn), S3Bucket: aws.String("my-exports")}
		change(r)
		if _, err := c.ExportTableToPointInTime(t.Context(), r); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want a refusal with %q: %v", says, err)
		}
	}
	if _, err := c.DescribeExport(t.Context(), &dynamodb.DescribeExportInput{ExportArn: aws.String(airArn + "/export/01489602797149-73d8d5bc")}); !isError[*types.ExportNotFoundException](err) {
		t.Error(err)
	}
	if files, err := os.ReadDir(buckets); err != nil || len(files) != 0 {
		t.Errorf("refused exports have left %v, %v", files, err)
	}
	h.buckets = nil
	if _, err := c.ExportTableToPointInTime(t.Context(), &dynamodb.ExportTableToPointInTimeInput{TableArn: aws.String(airArn), S3Bucket: aws.String("my-exports")}); err == nil {
		t.Error("an export without a directory")
	}
}

// TestAnExportStaysBelowItsDirectory has a bucket that is a link to elsewhere.
func TestAnExportStaysBelowItsDirectory(t *testing.T) {
	c, h, buckets := exporting(t)
	makeAir(t, c)
	elsewhere := t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(buckets, "linked")); err != nil {
		t.Fatal(err)
	}
	made, err := c.ExportTableToPointInTime(t.Context(), &dynamodb.ExportTableToPointInTimeInput{TableArn: aws.String(airArn), S3Bucket: aws.String("linked")})
	if err != nil {
		t.Fatal(err)
	}
	if d := exportEnds(t, c, made.ExportDescription.ExportArn); d.ExportStatus != types.ExportStatusFailed || d.FailureMessage == nil || d.ExportManifest != nil {
		t.Errorf("%+v", d)
	}
	for _, dir := range []string{elsewhere, filepath.Join(buckets, exportParts)} {
		if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
			t.Errorf("%s has %v, %v", dir, files, err)
		}
	}
	if _, err := h.writeExport(&table.Export{ID: "cut", Bucket: "b-1"}, func(f func(table.Item) error) error {
		return errors.Join(f(table.Item{"id": table.String("1")}), errors.New("cut off"))
	}); err == nil {
		t.Error("an error of the items is no error of the export")
	}
	if files, err := os.ReadDir(filepath.Join(buckets, exportParts)); err != nil || len(files) != 0 {
		t.Errorf("what was cut off has left %v, %v", files, err)
	}
}

package dynamodb

import (
	"compress/gzip"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"mote/internal/cloud/table"
)

const (
	// exportParts is where the files of an export are while they are written. It
	// is no bucket's name; the action s3 of rules, which writes its objects there
	// too, empties it at the start of the cloud.
	exportParts = ".parts"

	exportFileItems = 1 << 20 // items of one data file, at most
)

// exporter writes the files of one export as AWS lays them out (Amazon DynamoDB
// developer guide, "DynamoDB table export output format"), mode 0600. They get
// to their place all at once, when they are on the disk.
type exporter struct {
	root  *os.Root // the directory of buckets
	parts string   // where the files are now
	base  string   // where they will be, as keys of the bucket
	list  []byte   // manifest-files.json

	file  *os.File // the data file that is being written, or nil
	sum   hash.Hash
	zip   *gzip.Writer
	key   string
	items int64
	line  []byte
}

// writeExport is a [table.ExportWriter].
func (h *Handler) writeExport(e *table.Export, items func(func(table.Item) error) error) (manifest string, err error) {
	root, err := h.buckets()
	if err != nil {
		return "", fmt.Errorf("directory of buckets: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	x := &exporter{root: root, parts: path.Join(exportParts, e.ID), base: path.Join(e.Prefix, "AWSDynamoDB", e.ID)}
	if err := x.write(e, items); err != nil {
		if x.file != nil {
			_ = x.file.Close()
		}
		return "", errors.Join(err, root.RemoveAll(x.parts))
	}
	return path.Join(x.base, "manifest-summary.json"), nil
}

func (x *exporter) write(e *table.Export, items func(func(table.Item) error) error) error {
	if err := x.root.MkdirAll(path.Join(x.parts, "data"), 0o700); err != nil {
		return err
	}
	if err := items(x.add); err != nil {
		return err
	}
	if err := x.closeFile(); err != nil {
		return err
	}
	if err := x.manifest(e); err != nil {
		return err
	}
	if err := errors.Join(x.sync(path.Join(x.parts, "data")), x.sync(x.parts)); err != nil {
		return err
	}
	to := path.Join(e.Bucket, x.base)
	if err := x.makeDirs(path.Dir(to)); err != nil {
		return err
	}
	if err := x.root.Rename(x.parts, to); err != nil {
		return err
	}
	return x.sync(path.Dir(to))
}

// add writes one item as a line of a data file.
func (x *exporter) add(item table.Item) error {
	if x.file != nil && x.items == exportFileItems {
		if err := x.closeFile(); err != nil {
			return err
		}
	}
	if x.file == nil {
		if err := x.openFile(); err != nil {
			return err
		}
	}
	x.items++
	x.line = append(appendItem(append(x.line[:0], `{"Item":`...), item), '}', '\n')
	_, err := x.zip.Write(x.line)
	return err
}

func (x *exporter) openFile() (err error) {
	name := path.Join("data", strings.ToLower(rand.Text())+".json.gz")
	if x.file, err = x.create(name); err != nil {
		return err
	}
	x.key, x.items, x.sum = path.Join(x.base, name), 0, md5.New()
	x.zip = gzip.NewWriter(io.MultiWriter(x.file, x.sum))
	return nil
}

func (x *exporter) create(name string) (*os.File, error) {
	return x.root.OpenFile(path.Join(x.parts, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// closeFile brings the data file to the disk and lists it.
func (x *exporter) closeFile() error {
	if x.file == nil {
		return nil
	}
	err := x.zip.Close()
	if err == nil {
		err = x.file.Sync()
	}
	err = errors.Join(err, x.file.Close())
	x.file = nil
	if err != nil {
		return err
	}
	sum := x.sum.Sum(nil)
	line, err := json.Marshal(map[string]any{
		"itemCount": x.items, "md5Checksum": base64.StdEncoding.EncodeToString(sum), "etag": hex.EncodeToString(sum), "dataFileS3Key": x.key,
	})
	x.list = append(append(x.list, line...), '\n')
	return err
}

// manifest writes what the export consists of, and of what table it is.
func (x *exporter) manifest(e *table.Export) error {
	if err := x.summed("manifest-files", x.list); err != nil {
		return err
	}
	var prefix any
	if e.Prefix != "" {
		prefix = e.Prefix
	}
	const layout = "2006-01-02T15:04:05.000Z"
	begun := e.Started.UTC().Format(layout)
	text, err := json.Marshal(map[string]any{
		"version": "2020-06-30", "exportArn": e.ARN, "startTime": begun, "endTime": time.Now().UTC().Format(layout), "exportTime": begun,
		"tableArn": e.TableARN, "tableId": e.TableUUID, "s3Bucket": e.Bucket, "s3Prefix": prefix, "s3SseAlgorithm": nil, "s3SseKmsKeyId": nil,
		"manifestFilesS3Key": path.Join(x.base, "manifest-files.json"), "billedSizeBytes": e.Bytes, "itemCount": e.Items,
		"outputFormat": "DYNAMODB_JSON", "exportType": "FULL_EXPORT",
	})
	if err != nil {
		return err
	}
	return x.summed("manifest-summary", text)
}

// summed writes a JSON file of the manifest, and beside it its checksum.
func (x *exporter) summed(name string, data []byte) error {
	sum := md5.Sum(data)
	return errors.Join(x.small(name+".md5", []byte(base64.StdEncoding.EncodeToString(sum[:]))), x.small(name+".json", data))
}

func (x *exporter) small(name string, data []byte) error {
	f, err := x.create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// makeDirs makes the directories down to dir, durably.
func (x *exporter) makeDirs(dir string) error {
	parent, made := ".", ""
	for part := range strings.SplitSeq(dir, "/") {
		made = path.Join(made, part)
		err := x.root.Mkdir(made, 0o700)
		if err == nil {
			err = x.sync(parent)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		parent = made
	}
	return nil
}

// sync brings the names in a directory to the disk.
func (x *exporter) sync(dir string) error {
	f, err := x.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

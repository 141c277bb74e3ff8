package bluetooth

import (
	"bytes"
	"fmt"
)

// archive is a cpio archive of the kind that the kernel unpacks as its first
// file system: "newc" (Documentation/driver-api/early-userspace/buffer-format).
type archive struct {
	buf    bytes.Buffer
	inodes int
}

const (
	modeDir    = 0o040000
	modeFile   = 0o100000
	modeDevice = 0o020000 // of characters
)

func (a *archive) dir(name string) { a.add(name, modeDir|0o755, nil, 0, 0) }

func (a *archive) file(name string, data []byte, mode uint32) {
	a.add(name, modeFile|mode, data, 0, 0)
}

func (a *archive) device(name string, major, minor uint32) {
	a.add(name, modeDevice|0o600, nil, major, minor)
}

// end returns the whole archive.
func (a *archive) end() []byte {
	a.add("TRAILER!!!", 0, nil, 0, 0)
	return a.buf.Bytes()
}

func (a *archive) add(name string, mode uint32, data []byte, major, minor uint32) {
	a.inodes++
	// inode, mode, owner, group, links, time, size, two of the disk, two of the
	// device, length of the name with its zero, checksum
	fmt.Fprintf(&a.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inodes, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
	a.buf.WriteString(name + "\x00")
	a.pad()
	a.buf.Write(data)
	a.pad()
}

// pad fills up to a multiple of four.
func (a *archive) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}

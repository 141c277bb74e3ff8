package machine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// archive is a cpio archive of the kind that the kernel unpacks as its first
// file system: "newc" (Documentation/driver-api/early-userspace/buffer-format).
type archive struct {
	buf    bytes.Buffer
	inodes int
	made   map[string]bool // by their paths
}

const (
	modeDir    = 0o040000
	modeFile   = 0o100000
	modeLink   = 0o120000
	modeDevice = 0o020000 // of characters
)

// merged are the directories that Debian has below /usr.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// layOut makes them where they are looked for.
func (a *archive) layOut() {
	a.dir("usr")
	for _, name := range merged {
		a.dir("usr/" + name)
		a.add(name, modeLink|0o777, []byte("usr/"+name), 0, 0)
		a.made["/usr/"+name] = true
	}
	a.made["/usr"] = true
}

// fileWithDirs adds a file once, and the directories on its path.
func (a *archive) fileWithDirs(path string, data []byte, mode uint32) {
	if top, _, _ := strings.Cut(path[1:], "/"); slices.Contains(merged, top) {
		path = "/usr" + path
	}
	if a.made[path] {
		return
	}
	a.made[path] = true
	for i, c := range path {
		if dir := path[:i]; c == '/' && i > 0 && !a.made[dir] {
			a.made[dir] = true
			a.dir(dir[1:])
		}
	}
	a.file(path[1:], data, mode)
}

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

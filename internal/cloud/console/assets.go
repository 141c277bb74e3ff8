package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed web
var web embed.FS

// asset is one file of the page.
type asset struct {
	name string
	data []byte
	etag string
}

// types names what the page is made of; the machine's own list of types may
// be anything. A file of no type here is not served.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// loadAssets returns the files of the page by path.
func loadAssets() map[string]*asset {
	assets := map[string]*asset{}
	err := fs.WalkDir(web, "web", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || types[path.Ext(name)] == "" {
			return err
		}
		data, err := web.ReadFile(name)
		sum := sha256.Sum256(data)
		assets["/console"+name[len("web"):]] = &asset{name, data, `"` + hex.EncodeToString(sum[:12]) + `"`}
		return err
	})
	if err != nil {
		panic("console: embedded files: " + err.Error()) // they are part of the program
	}
	assets["/{$}"] = assets["/console/index.html"]
	assets["/console/{$}"] = assets["/console/index.html"]
	assets["/console"] = assets["/console/index.html"]
	assets["/favicon.ico"] = assets["/console/icon.svg"]
	return assets
}

// ServeHTTP implements http.Handler. Browsers ask each time whether the file
// is still the same, so that a new version of mote is seen at once.
func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", types[path.Ext(a.name)])
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", a.etag)
	http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(a.data))
}

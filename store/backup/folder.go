package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
)

// folder is a vault in a folder of this machine, or of a file system that it has mounted.
type folder struct{ dir string }

// NewFolder is the vault in a folder, which is made when the first backup is written.
func NewFolder(dir string) (Vault, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return &folder{abs}, nil
}

func (f *folder) String() string { return f.dir }

func (f *folder) Path(name, file string) string { return filepath.Join(f.dir, name, file) }

func (f *folder) Check(context.Context) error {
	info, err := os.Stat(f.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("the backup folder cannot be read: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder: choose another --backup-dir", f.dir)
	}
	return nil
}

func (f *folder) List(ctx context.Context) ([]Entry, error) {
	if err := f.Check(ctx); err != nil {
		return nil, err
	}
	names, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the backup folder %s: %w", f.dir, ErrNoFolder)
	}
	if err != nil {
		return nil, fmt.Errorf("the backup folder cannot be read: %w", err)
	}
	var all []Entry
	for _, n := range names {
		if !n.IsDir() || !namePattern.MatchString(n.Name()) {
			continue
		}
		if len(all) == entriesMax {
			return nil, tooMany(f)
		}
		e := Entry{Name: n.Name(), Files: map[string]int64{}}
		if info, err := n.Info(); err == nil {
			e.Changed = info.ModTime()
		}
		files, err := os.ReadDir(filepath.Join(f.dir, n.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the backup folder cannot be read: %w", err)
		}
		for _, file := range files {
			info, err := file.Info()
			if err != nil {
				continue // removed in between
			}
			if info.ModTime().After(e.Changed) {
				e.Changed = info.ModTime()
			}
			if !strings.HasPrefix(file.Name(), durable.TemporaryPrefix) {
				e.Files[file.Name()] = info.Size()
			}
		}
		all = append(all, e)
	}
	return all, nil
}

func (f *folder) Open(_ context.Context, name, file string) (io.ReadCloser, int64, error) {
	// No link is followed, and no pipe waited for, that somebody has put there.
	r, err := os.OpenFile(f.Path(name, file), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s of backup %s: %w %s", file, name, ErrNotFound, f.dir)
	}
	if errors.Is(err, unix.ELOOP) {
		return nil, 0, fmt.Errorf("%w: %s is no file", ErrDamaged, f.Path(name, file))
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := r.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is no file", ErrDamaged, f.Path(name, file))
	}
	if err != nil {
		r.Close()
		return nil, 0, err
	}
	return r, info.Size(), nil
}

func (f *folder) Write(ctx context.Context, name, file string, from io.Reader, _ int64) error {
	dir := filepath.Join(f.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the backup folder cannot be written: %w", err)
	}
	err := durable.ReplaceWith(f.Path(name, file), 0o600, func(w io.Writer) error {
		// io.Copy must not find the file's ReadFrom: it would see neither the end of ctx nor a full buffer's worth at once.
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, &bounded{ctx, from}, make([]byte, copyBuffer))
		return err
	})
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", f.Path(name, file), err)
	}
	return durable.SyncFolder(f.dir)
}

func (f *folder) Remove(_ context.Context, name, file string) error {
	err := os.Remove(f.Path(name, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (f *folder) Clear(ctx context.Context, name string) error {
	if err := f.Remove(ctx, name, ManifestFile); err != nil {
		return err
	}
	dir := filepath.Join(f.dir, name)
	if err := durable.SyncFolder(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// copyBuffer is how much is moved at once, in bytes.
const copyBuffer = 1 << 20

// bounded ends a reader with its context.
type bounded struct {
	ctx  context.Context
	from io.Reader
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.from.Read(p)
}

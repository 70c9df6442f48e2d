package membership

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// publishWait is how long the other masters may take to use what was published.
	publishWait = 30 * time.Second
	// askPause is the time between two questions to masters that do not use it yet.
	askPause = 100 * time.Millisecond
	// retryPause is the time between two tries to get a generation.
	retryPause = time.Second
)

// Shared is a part of the files that all masters have alike. Names are relative to the data folder.
type Shared interface {
	Files() (map[string][]byte, error)
	// Install puts files into place and into use. It gets the files of all parts and takes its own.
	Install(files map[string][]byte) error
}

// Publisher tells the other masters of a change of shared files.
type Publisher interface {
	// Publish announces what this master's shared files are now and returns when all live masters use them, or with an
	// error that names who does not.
	Publish(ctx context.Context) error
}

// Bundle is one generation of the shared files.
type Bundle struct {
	Generation int64
	Files      map[string][]byte
}

// Uses is what a master says of the files that it uses.
type Uses struct {
	Generation int64 `json:"generation"`
	// Hash of the files; empty if they cannot be read, or of a master that does not tell it.
	Hash string `json:"hash,omitempty"`
}

// announcement is what the store holds of the present generation: not the files.
type announcement struct {
	Generation int64  `json:"generation"`
	Hash       string `json:"hash"`
	Master     string `json:"master"`
}

// Shares keeps the shared files of this master those of the cluster.
type Shares struct {
	// Store holds the announcement under Key.
	Store store.Store
	Key   string
	// Parts of the files.
	Parts []Shared
	// Self is this master's name; Masters are those that live, this one included.
	Self    string
	Masters func() []Master
	// Fetch gets the files of another master, and Ask what it uses.
	Fetch func(ctx context.Context, m Master) (Bundle, error)
	Ask   func(ctx context.Context, m Master) (Uses, error)
	// Log takes lines for the operator.
	Log func(format string, args ...any)

	catching sync.Mutex // held while files of others are asked for
	changing sync.Mutex // held while files are read, announced or installed; never while another master is asked
	mu       sync.Mutex // guards generation
	// generation in use; 0 before anything was ever published.
	generation int64
}

var _ Publisher = (*Shares)(nil)

// Generation that this master uses.
func (s *Shares) Generation() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}

// Uses is what this master uses.
func (s *Shares) Uses() Uses {
	s.changing.Lock()
	defer s.changing.Unlock()
	u := Uses{Generation: s.Generation()}
	if files, err := s.Files(); err == nil {
		u.Hash = hashOf(files)
	}
	return u
}

func (s *Shares) use(generation int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation = generation
}

// Files of all parts.
func (s *Shares) Files() (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, part := range s.Parts {
		files, err := part.Files()
		if err != nil {
			return nil, err
		}
		maps.Copy(all, files)
	}
	return all, nil
}

// Bundle is what other masters get.
func (s *Shares) Bundle() (Bundle, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	files, err := s.Files()
	return Bundle{Generation: s.Generation(), Files: files}, err
}

// hashOf files, independent of their order.
func hashOf(files map[string][]byte) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s %d\n", name, len(files[name]))
		h.Write(files[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// read the announcement; a zero one if there never was any.
func (s *Shares) read(ctx context.Context) (a announcement, revision, at int64, err error) {
	e, at, err := s.Store.Get(ctx, s.Key, 0)
	if errors.Is(err, store.ErrNotFound) {
		return a, 0, at, nil
	}
	if err != nil {
		return a, 0, 0, err
	}
	err = json.Unmarshal(e.Value, &a)
	return a, e.Revision, at, err
}

// Publish implements Publisher.
func (s *Shares) Publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	now, err := s.announce(ctx, false)
	if err != nil {
		return err
	}
	for again := false; ; {
		late, stray := s.late(ctx, now)
		if stray && !again { // it was cut off before it could announce what it did: it takes over what was announced, as it does at a start
			again = true
			if now, err = s.announce(ctx, true); err != nil {
				return err
			}
			continue
		}
		if len(late) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("these masters do not use the new files yet: %s", strings.Join(late, "; "))
		case <-time.After(askPause):
		}
	}
}

// announce what this master has, as a generation of its own if it is not the present one, or if another master is to take it over once more.
func (s *Shares) announce(ctx context.Context, again bool) (now Uses, err error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	before, revision, _, err := s.read(ctx)
	if err != nil {
		return now, err
	}
	if before.Generation > s.Generation() {
		return now, conflict("another master (%s) has changed the shared files at the same time: try again", before.Master)
	}
	files, err := s.Files()
	if err != nil {
		return now, err
	}
	next := announcement{Generation: before.Generation + 1, Hash: hashOf(files), Master: s.Self}
	if next.Hash == before.Hash && !again {
		return Uses{before.Generation, before.Hash}, nil
	}
	value, err := json.Marshal(next)
	if err != nil {
		return now, err
	}
	if revision == 0 {
		_, err = s.Store.Create(ctx, s.Key, value, 0)
	} else {
		_, err = s.Store.Update(ctx, s.Key, revision, value, 0)
	}
	var lost *store.Conflict
	if errors.As(err, &lost) && !s.ours(lost, value) {
		return now, conflict("another master has changed the shared files at the same time: try again")
	}
	if err != nil && lost == nil {
		return now, err
	}
	s.use(next.Generation)
	return Uses{next.Generation, next.Hash}, nil
}

// ours tells that the write that seems to have lost a race is the one that was made.
func (s *Shares) ours(lost *store.Conflict, value []byte) bool {
	return lost.Present != nil && bytes.Equal(lost.Present.Value, value)
}

// late are the live masters that do not use what was announced, each with why if that is known; stray tells that one has its generation
// with other files, as one may for good that has a key which was never given to it, or was given to nobody else.
func (s *Shares) late(ctx context.Context, now Uses) (late []string, stray bool) {
	for _, m := range s.others("") {
		switch uses, err := s.Ask(ctx, m); {
		case err != nil:
			late = append(late, fmt.Sprintf("%s (%v)", m.Name, err))
		case uses.Generation < now.Generation:
			late = append(late, m.Name)
		case uses.Generation == now.Generation && uses.Hash != "" && uses.Hash != now.Hash:
			stray = true
		}
	}
	return late, stray
}

// CatchUp makes this master's files those of the cluster. It needs a live master that has them, unless this one does.
func (s *Shares) CatchUp(ctx context.Context) error {
	s.catching.Lock()
	defer s.catching.Unlock()
	want, err := s.lacks(ctx)
	if err != nil || want == nil {
		return err
	}
	var failed []error
	for _, m := range s.others(want.Master) {
		bundle, err := s.Fetch(ctx, m) // without a lock: that master may ask this one at the same time
		switch {
		case err != nil:
			failed = append(failed, fmt.Errorf("%s: %w", m.Name, err))
			continue
		case bundle.Generation != want.Generation || hashOf(bundle.Files) != want.Hash:
			failed = append(failed, fmt.Errorf("%s has not got it either", m.Name))
			continue
		}
		return s.install(want, bundle, m.Name)
	}
	if want.Master == s.Self && len(failed) == 0 {
		// This master is alone, and was cut off after it had changed its files and before it could announce them.
		s.use(want.Generation)
		return nil
	}
	return fmt.Errorf("generation %d of the authority and keys, made by %s, cannot be had: %w", want.Generation, want.Master,
		errors.Join(append(failed, errors.New("no other master has it"))...))
}

// lacks is the generation that was announced and that this master does not use; nil if it uses it, as it does from now on if it has its files.
func (s *Shares) lacks(ctx context.Context) (*announcement, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	want, _, _, err := s.read(ctx)
	if err != nil || want.Generation <= s.Generation() {
		return nil, err
	}
	files, err := s.Files()
	if err != nil {
		return nil, err
	}
	if hashOf(files) == want.Hash {
		s.use(want.Generation)
		return nil, nil
	}
	return &want, nil
}

// others are the live masters but this one; the one that has made the files comes first.
func (s *Shares) others(maker string) []Master {
	all := slices.DeleteFunc(slices.Clone(s.Masters()), func(m Master) bool { return m.Name == s.Self })
	slices.SortStableFunc(all, func(a, b Master) int {
		switch maker {
		case a.Name:
			return -1
		case b.Name:
			return 1
		}
		return 0
	})
	return all
}

// install puts what a master gave into use. Until then this one could not announce anything, since it was behind.
func (s *Shares) install(want *announcement, bundle Bundle, from string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, part := range s.Parts {
		if err := part.Install(bundle.Files); err != nil {
			return fmt.Errorf("the files of %s cannot be used: %w", from, err)
		}
	}
	s.use(want.Generation)
	s.Log("took over generation %d of the authority and keys from %s", want.Generation, from)
	return nil
}

// Follow catches up whenever another generation is announced, until ctx ends.
func (s *Shares) Follow(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		err := s.follow(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			s.Log("%v", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

// follow returns when the watch breaks or a generation cannot be had.
func (s *Shares) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, _, at, err := s.read(ctx)
	if err != nil {
		return err
	}
	watch := s.Store.Watch(ctx, s.Key, store.WatchOptions{From: at + 1})
	if err := s.CatchUp(ctx); err != nil {
		return err
	}
	for batch := range watch.C() {
		if len(batch.Events) == 0 {
			continue
		}
		if err := s.CatchUp(ctx); err != nil {
			return err
		}
	}
	return nil
}

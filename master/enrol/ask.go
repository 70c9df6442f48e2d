package enrol

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

// asking is a question to the cluster that --join names: does what is in the data folder belong to it?
type asking struct {
	plan   membership.Plan
	joiner *membership.Joiner
	own    membership.Card
	// silent are the servers that have not answered yet; nil before any was asked.
	silent []string
	// dead data must not be started, whatever the cluster says.
	dead error
}

// prepareAsking reads what the question is about.
func (e *Enrolment) prepareAsking(plan membership.Plan) error {
	c := &e.Options
	token, err := membership.ParseToken(c.Token)
	if err != nil {
		return fmt.Errorf("--token: %w", err)
	}
	f, err := datafolder.Read(c.DataDir, c.PKIDir)
	if err != nil {
		return err
	}
	a := &asking{plan: plan, own: f.Card(), dead: f.Dead(c.RecoverQuorum)}
	if a.dead != nil && !c.Replace {
		return a.dead
	}
	a.joiner = &membership.Joiner{Servers: c.Join, Token: token, Hashes: c.AuthorityHashes, Log: c.Log}
	e.asking = a
	return nil
}

// askFirst decides on a start with --join on a folder that holds data: they are started, refused, or moved aside.
func (e *Enrolment) askFirst(ctx context.Context) error {
	a, c := e.asking, &e.Options
	answer, err := membership.Agree(e.askNamed(ctx))
	var disagree membership.Disagreement
	switch {
	case errors.As(err, &disagree):
		return fmt.Errorf("%w; nothing was changed", err)
	case err != nil && a.plan == membership.Replace:
		return fmt.Errorf("--replace: the cluster to join cannot be asked, and nothing was changed: %w", err)
	case err != nil && a.dead != nil:
		return fmt.Errorf("%w; the cluster to join cannot be asked: %w", a.dead, err)
	case err != nil:
		c.Warn("--join is left aside: this folder is that of a master of that authority, and whether it still belongs to the cluster cannot be asked yet: %v", err)
		return nil
	}
	why := answer.Judge(&a.own, answer.Server)
	switch {
	case a.plan == membership.Replace:
		why = errors.New("it holds the data of another authority")
	case why == nil && a.dead != nil:
		why = a.dead
	case why == nil && e.recovering: // those whom it would forget are there
		why = errors.New("a recovery from a lost quorum was cut off in it, and the masters that it gives up answer")
	}
	if why == nil {
		c.Log("--join is left aside: this is a master of that cluster already")
		return nil
	}
	if !c.Replace {
		return fmt.Errorf("%w; nothing was changed", elsewhere(c, why))
	}
	c.Log("--replace: moving the old data aside: %v", why)
	return e.replaceFolder()
}

// elsewhere is the error of a master whose data are not those of the cluster that it was told to join.
func elsewhere(c *Options, why error) error {
	return fmt.Errorf("the data folder %s does not belong to the cluster that --join names: %w: to move the old data aside and join as a new master add --replace, "+
		"or, if the old data are those that count, stop the masters there first", c.DataDir, why)
}

// askNamed asks with a certificate of the authority in the folder, or with the token.
func (e *Enrolment) askNamed(ctx context.Context) []membership.Answer {
	a := e.asking
	var pair *tls.Certificate
	if a.plan == membership.AskFirst {
		pair = e.memberPair()
	}
	asked := *a.joiner
	if a.silent != nil {
		asked.Servers = a.silent
	}
	answers := asked.Ask(ctx, pair)
	if pair != nil {
		for i := range answers {
			if err := answers[i].Err; apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
				again := *a.joiner
				again.Servers = []string{answers[i].Server}
				answers[i] = again.Ask(ctx, nil)[0]
			}
		}
	}
	a.silent = []string{}
	for _, one := range answers {
		if one.Err != nil {
			a.silent = append(a.silent, one.Server)
		}
	}
	return answers
}

// memberPair is a certificate of the authority in the folder, whose files are not touched; nil without the authority's key.
func (e *Enrolment) memberPair() *tls.Certificate {
	files := map[string][]byte{}
	for _, name := range []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub"} {
		if data, err := os.ReadFile(filepath.Join(e.PKIDir, name)); err == nil {
			files[name] = data
		}
	}
	if files["ca.key"] == nil {
		return nil
	}
	authority, err := pki.New(pki.Options{Now: e.Now})
	if err != nil || authority.Install(files) != nil {
		return nil
	}
	pair, err := authority.Admin()
	if err != nil {
		return nil
	}
	return pair.TLS()
}

const (
	// askLaterEvery is how often servers of --join that could not be asked are asked again.
	askLaterEvery = 5 * time.Second
	// askLaterFor is how long a master whose data turn out to be another history than the named cluster's ends for it. One that has
	// served for longer has written what counts: it goes on, and tells of two clusters.
	askLaterFor = 10 * time.Minute
)

// Identity is what a master knows of its store.
type Identity interface {
	Card() membership.Card
	// Meet compares it with another's.
	Meet(other *membership.Card)
	// End has the master end for a reason.
	End(why error)
}

// AskLater asks until all servers of --join have answered: a start that nobody could be asked about may have been that of data which
// the cluster has given up, or which are another history than its own. Those end, as they would not have been started.
func (e *Enrolment) AskLater(ctx context.Context, own Identity) {
	if e.asking == nil {
		return
	}
	a, began := e.asking, time.Now()
	for len(a.silent) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(askLaterEvery):
		}
		for _, answer := range e.askNamed(ctx) {
			if answer.Err == nil {
				e.answeredLater(own, &answer, began)
			}
		}
	}
}

// takesBack tells whether the operator goes on with data that were given up.
func (c *Options) takesBack(from *membership.Successor) bool {
	return c.RecoverQuorum && c.ForgetStore == from.ID
}

// staleEntries are the entries of a data folder that a new member must not find. What is the operator's stays.
var staleEntries = []string{"etcd", "pki", datafolder.IdentityFile, datafolder.StoreFile, datafolder.EncryptionFile, datafolder.KubeconfigFile, datafolder.PeerPortFile, datafolder.RecoveredFile, datafolder.RecoveringFile,
	datafolder.FirstStartFile, datafolder.NewClusterFile, datafolder.ExternalFile}

// replaceFolder moves the data aside, and makes this a master that joins.
func (e *Enrolment) replaceFolder() (err error) {
	c := &e.Options
	inside := filepath.Clean(c.PKIDir) == filepath.Join(filepath.Clean(c.DataDir), "pki")
	if !inside && e.asking.plan == membership.Replace {
		return fmt.Errorf("--replace moves what is in %s, and the authority is in %s: move it away, or name another --pki-dir", c.DataDir, c.PKIDir)
	}
	aside, err := filepath.Abs(filepath.Join(c.DataDir, datafolder.MovedPrefix+datafolder.Moment())) // the next start may be in another folder
	if err != nil {
		return err
	}
	mark, err := membership.MarkMoving(c.DataDir, aside)
	if err != nil {
		return err
	}
	e.asking, e.joining, e.recovering = nil, &joining{mark: mark}, false
	for _, name := range staleEntries {
		if err := datafolder.MoveAside(c.DataDir, name, aside); err != nil {
			return err
		}
	}
	c.Log("the old data are in %s; remove them when all is well", aside)
	e.began = false
	e.Name, err = datafolder.Identify(c.DataDir)
	return err
}

// undoReplace puts back what a start with --replace was moving aside when it was cut off: nothing else had happened yet.
func (e *Enrolment) undoReplace() error {
	mark, err := membership.ReadMark(e.DataDir)
	if err != nil || mark == nil || !mark.Moving {
		return err
	}
	e.Log("a join with --replace was cut off while the old data were moved: they are put back first")
	return mark.Undo()
}

func (e *Enrolment) answeredLater(id Identity, answer *membership.Answer, began time.Time) {
	card, own := answer.Card, id.Card()
	if card.URL == "" {
		card.URL = answer.Server
	}
	id.Meet(&card)
	if own.Toward(&card) == membership.Foreign && time.Since(began) < askLaterFor {
		id.End(elsewhere(&e.Options, answer.Judge(&own, answer.Server)))
	}
}

package certificates

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

const (
	// Quiet is how long no certificate of an authority must have been used before the authority is dropped: what
	// runs comes again within minutes.
	Quiet = 10 * time.Minute
	// namedUses bounds the users whom a refusal names.
	namedUses = 5
	// reloadTimeout bounds the time in which one master's member of the store is opened again.
	reloadTimeout = time.Minute
)

// Commands list, renew and rotate.
func (c *Certificates) Commands() []admin.Command {
	return []admin.Command{
		{Method: http.MethodGet, Path: "certificates", Handler: admin.Handle(c.listCertificates)},
		{Method: http.MethodGet, Path: "certificates/own", Handler: admin.Handle(c.tellCertificates)},
		{Method: http.MethodPost, Path: "certificates/renew", Handler: admin.Handle(c.renewCertificates)},
		{Method: http.MethodPost, Path: "certificates/renew-everywhere", Handler: admin.Handle(c.renewEverywhere)},
		{Method: http.MethodGet, Path: "certificates/rotation", Handler: admin.Handle(c.tellRotation)},
		{Method: http.MethodPost, Path: "certificates/rotation", Handler: admin.Handle(c.rotate), Long: true},
		{Method: http.MethodPost, Path: "certificates/reload", Handler: admin.Handle(c.reloadPeers), Long: true},
		{Method: http.MethodPost, Path: "certificates/service-account-key", Handler: admin.Handle(c.rotateTokenKey), Long: true},
	}
}

// OfMaster are the certificates of one master.
type OfMaster struct {
	Master       string            `json:"master"`
	Certificates []pki.Description `json:"certificates,omitempty"`
	// Uses are the client certificates of authorities that are about to be dropped, as far as they were used lately.
	Uses []OldUse `json:"uses,omitempty"`
	// Remembered is since when this master remembers who came with which certificate.
	Remembered time.Time `json:"remembered"`
	// Error tells why a master did not answer.
	Error string `json:"error,omitempty"`
}

// OldUse is a client certificate of an authority that is about to be dropped.
type OldUse struct {
	Subject string    `json:"subject"`
	Serial  string    `json:"serial"`
	Last    time.Time `json:"last"`
	// Address that it came from last.
	Address string `json:"address,omitempty"`
}

// tellCertificates are this master's.
func (c *Certificates) tellCertificates(context.Context, struct{}) (OfMaster, error) {
	own := OfMaster{Master: c.Self, Certificates: c.List()}
	own.Uses, own.Remembered = c.oldUses()
	return own, nil
}

// oldUses are the client certificates of predecessors that came to this master lately, and since when it remembers that.
func (c *Certificates) oldUses() (uses []OldUse, remembered time.Time) {
	old := c.predecessors()
	used, remembered := c.Authenticator.CertificatesUsed(c.PKI.Now().Add(-Quiet))
	for _, use := range used {
		for _, authority := range old {
			if use.Certificate.CheckSignatureFrom(authority) == nil {
				host, _, _ := net.SplitHostPort(use.From)
				uses = append(uses, OldUse{use.Certificate.Subject.String(), fmt.Sprintf("%x", use.Certificate.SerialNumber), use.Last, host})
			}
		}
	}
	slices.SortFunc(uses, func(a, b OldUse) int { return b.Last.Compare(a.Last) })
	return uses, remembered
}

// listCertificates are those of all masters that live.
func (c *Certificates) listCertificates(ctx context.Context, _ struct{}) ([]OfMaster, error) {
	own, _ := c.tellCertificates(ctx, struct{}{})
	all := []OfMaster{own}
	for _, p := range c.otherMasters() {
		var theirs OfMaster
		if err := c.Caller.Ask(ctx, p.URL, "certificates/own", &theirs); err != nil {
			theirs = OfMaster{Master: p.Name, Error: err.Error()}
		}
		all = append(all, theirs)
	}
	return all, nil
}

func (c *Certificates) otherMasters() []membership.Master {
	return slices.DeleteFunc(slices.Clone(c.Masters()), func(p membership.Master) bool { return p.Name == c.Self })
}

// Renewal names the certificates to renew.
type Renewal struct {
	Names []string `json:"names,omitempty"`
	All   bool     `json:"all,omitempty"`
}

// renewCertificates issues certificates of this master anew, whether they are due or not.
func (c *Certificates) renewCertificates(_ context.Context, in Renewal) (OfMaster, error) {
	if in.All == (len(in.Names) > 0) {
		return OfMaster{}, admin.Refused("name the certificates to renew, or ask for all")
	}
	if c.Authority.CA().Key == nil {
		return OfMaster{}, admin.Refused("the authority's key is not on this master: renew its certificates where the key is, and put them in place")
	}
	if err := renew(c.Authority, in.Names, c.rewriteKubeconfig); err != nil {
		return OfMaster{}, refusal(err)
	}
	c.Log("certificates were renewed on an operator's command")
	return c.tellCertificates(context.Background(), struct{}{})
}

// renewEverywhere issues all certificates of all masters anew, one master after another.
func (c *Certificates) renewEverywhere(ctx context.Context, _ struct{}) ([]OfMaster, error) {
	away, err := c.Absent(ctx)
	if err != nil {
		return nil, err
	}
	own, err := c.renewCertificates(ctx, Renewal{All: true})
	if err != nil {
		own = OfMaster{Master: c.Self, Error: err.Error()}
	}
	all := []OfMaster{own}
	for _, p := range c.otherMasters() {
		theirs := OfMaster{Master: p.Name}
		if err := c.Caller.Order(ctx, p.URL, "certificates/renew", Renewal{All: true}, &theirs); err != nil {
			theirs.Error = err.Error()
		}
		all = append(all, theirs)
	}
	for _, name := range away {
		all = append(all, OfMaster{Master: name, Error: "it is not among the live masters; its certificates were left as they are"})
	}
	return all, nil
}

// renew issues the named certificates, all without names. kubeconfig makes the administrator's.
func renew(a *pki.Authority, names []string, kubeconfig func() error) error {
	leaves := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == datafolder.KubeconfigFile })
	if len(leaves) > 0 || len(names) == 0 {
		if err := a.RenewNow(leaves...); err != nil {
			return err
		}
	}
	if len(names) == 0 || len(leaves) < len(names) {
		return kubeconfig()
	}
	return nil
}

// Step of a rotation.
type Step struct {
	// Step is prepare, switch, finish or cancel.
	Step string `json:"step"`
	// Authorities to rotate: ca, front-proxy-ca, etcd-ca; none means all.
	Authorities []string `json:"authorities,omitempty"`
	// Force finishes although certificates of the old authority are in use, or masters are away.
	Force bool `json:"force,omitempty"`
}

// RotationState is where the rotation of one authority stands.
type RotationState struct {
	Authority string          `json:"authority"`
	Stage     pki.Stage       `json:"stage"`
	Signs     pki.Description `json:"signs"`
	// Other is the certificate that will sign, when prepared, or that signed before, when switched.
	Other *pki.Description `json:"other,omitempty"`
	// KeyHere is false for an authority whose key is kept elsewhere.
	KeyHere bool `json:"keyHere"`
}

// RotationStatus is where all rotations stand.
type RotationStatus struct {
	Authorities []RotationState `json:"authorities"`
	// Uses are what keeps a rotation from being finished, by master.
	Uses []OfMaster `json:"uses,omitempty"`
	// Away are the masters of the cluster that are not among those that live. They have not taken the last step, and catch up when they start.
	Away []string `json:"away,omitempty"`
}

func (c *Certificates) tellRotation(ctx context.Context, _ struct{}) (RotationStatus, error) {
	var status RotationStatus
	for _, r := range c.Authority.Rotation() {
		state := RotationState{Authority: r.Authority, Stage: r.Stage, KeyHere: r.KeyHere, Signs: pki.Describe(r.Authority, "authority", r.Signs)}
		if r.Other != nil {
			d := pki.Describe(r.Authority, "trusted", r.Other)
			state.Other = &d
		}
		status.Authorities = append(status.Authorities, state)
	}
	if len(c.predecessors()) > 0 {
		all, err := c.listCertificates(ctx, struct{}{})
		if err != nil {
			return status, err
		}
		for _, one := range all {
			if one.Certificates = nil; len(one.Uses) > 0 || one.Error != "" {
				status.Uses = append(status.Uses, one)
			}
		}
	}
	away, err := c.Absent(ctx)
	if err != nil { // where the rotation stands is told all the same
		away = []string{"(unknown: " + err.Error() + ")"}
	}
	status.Away = away
	return status, nil
}

// underWay tells whether a rotation that a step is about has begun, and has not ended.
func (c *Certificates) underWay(in Step) bool {
	return slices.ContainsFunc(c.Authority.Rotation(), func(r pki.Rotation) bool {
		return r.Stage != pki.Settled && (len(in.Authorities) == 0 || slices.Contains(in.Authorities, r.Authority))
	})
}

// rotate does one step of a rotation on all masters. Each begins with making sure that all masters have done the one before.
func (c *Certificates) rotate(ctx context.Context, in Step) (RotationStatus, error) {
	if !c.rotating.TryLock() {
		return RotationStatus{}, admin.Refused("another rotation is being worked on at this moment: try again when it is done")
	}
	defer c.rotating.Unlock()
	a := c.Authority
	steps := map[string]func(...string) error{"prepare": a.Prepare, "switch": a.Switch, "finish": a.Finish, "cancel": a.Cancel}
	step := steps[in.Step]
	if step == nil {
		return RotationStatus{}, admin.Refused(fmt.Sprintf("there is no step %q of a rotation: the steps are prepare, switch and finish, and cancel after prepare", in.Step))
	}
	if err := c.Publish(ctx); err != nil {
		return RotationStatus{}, err
	}
	left := c.underWay(in)
	if !left && c.incomplete != in.Step && (in.Step == "finish" || in.Step == "cancel") {
		return RotationStatus{}, admin.Refused(fmt.Sprintf("there is nothing to %s: no rotation of an authority is under way", in.Step))
	}
	if in.Step == "finish" {
		if left { // else this repeats a finish that did not get to all: what it asks was asked then, and nobody remembers the old authority
			if err := c.mayFinish(ctx, in.Force); err != nil {
				return RotationStatus{}, err
			}
		}
		// The members of the store trust what their authority's file held when they were opened. Those that have not been
		// opened since the rotation began know only the old authority, so they are opened once more before it goes.
		if err := c.reloadAll(ctx); err != nil {
			return RotationStatus{}, err
		}
	}
	if err := step(in.Authorities...); err != nil {
		return RotationStatus{}, refusal(err)
	}
	c.Log("rotation of the authority: %s is done on this master", in.Step)
	c.incomplete = in.Step
	if err := c.Publish(ctx); err != nil {
		return RotationStatus{}, admin.Refused(fmt.Sprintf("the step was done on this master, but not on all: %v: repeat the command when they can be reached", err))
	}
	if in.Step == "finish" {
		// And once more, so that none of them trusts the old one any longer.
		if err := c.reloadAll(ctx); err != nil {
			return RotationStatus{}, err
		}
	}
	c.incomplete = ""
	return c.tellRotation(ctx, struct{}{})
}

// refusal makes an error of package pki one that tells the caller, rather than an internal one.
func refusal(err error) error {
	return admin.Refused(strings.TrimPrefix(err.Error(), "pki: "))
}

// mayFinish refuses to drop an authority that is still needed.
func (c *Certificates) mayFinish(ctx context.Context, force bool) error {
	if force {
		return nil
	}
	var problems []string
	away, err := c.Absent(ctx)
	if err != nil {
		return err
	}
	if len(away) > 0 {
		problems = append(problems, "these masters are away and could not come back: "+strings.Join(away, ", "))
	}
	all, err := c.listCertificates(ctx, struct{}{})
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, one := range all {
		if one.Error != "" {
			problems = append(problems, fmt.Sprintf("%s does not answer: %s", one.Master, one.Error))
		}
		for _, use := range one.Uses {
			if key := use.Subject + use.Serial; !named[key] && len(named) < namedUses {
				named[key] = true
				problems = append(problems, fmt.Sprintf("%s came to %s from %s with a certificate of the old authority (serial %s) %v ago",
					use.Subject, one.Master, use.Address, use.Serial, c.PKI.Now().Sub(use.Last).Round(time.Second)))
			}
		}
		if since := c.PKI.Now().Sub(one.Remembered); one.Error == "" && since < Quiet {
			problems = append(problems, fmt.Sprintf("%s remembers who came for only %v, since it started or the authorities changed", one.Master, since.Round(time.Second)))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return admin.Refused(strings.Join(problems, "; ") +
		fmt.Sprintf(". Give them new certificates and wait %v, or use --force to lock them out", Quiet))
}

// reloadAll has the store's members opened again, one after another.
func (c *Certificates) reloadAll(ctx context.Context) error {
	for _, p := range c.otherMasters() {
		client, err := c.Caller.To(p.URL)
		if err == nil {
			err = client.Post(ctx, "certificates/reload", nil, nil)
		}
		if err != nil {
			return admin.Refused(fmt.Sprintf("the store's member of %s could not take over the authority: %v: repeat the command", p.Name, err))
		}
	}
	_, err := c.reloadPeers(ctx, struct{}{})
	return err
}

// reloadPeers has this master's member of the store trust what its authority's file holds now, and returns when the store
// has a leader again and answers through this master.
func (c *Certificates) reloadPeers(ctx context.Context, _ struct{}) (struct{}, error) {
	if c.Member == nil || !c.Member.Grouped() {
		return struct{}{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	if err := c.Member.Reload(ctx); err != nil {
		return struct{}{}, err
	}
	_, err := c.Store.Revision(ctx)
	return struct{}{}, err
}

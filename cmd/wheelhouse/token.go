package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/master/members"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

func tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Make, list and delete the tokens with which masters and nodes join",
		Args:  unknownSubcommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenDeleteCommand())
	return c
}

// tokenLife is kubeadm's default.
const tokenLife = 24 * time.Hour

func tokenCreateCommand() *cobra.Command {
	var f adminFlags
	var role, description string
	var ttl time.Duration
	var groups, usages []string
	var printJoin bool
	c := &cobra.Command{
		Use:   "create [TOKEN]",
		Short: "Make a token, and print the command that joins with it",
		Long: `Make a token, and print the command that joins with it.

The command names all masters that live, and the hash of the authority, so that the newcomer
can tell that it speaks to the right cluster before it sends the token.

A token for masters lets one master in, once: whoever has it gets the keys of the cluster. To make
one needs the administrator's certificate (admin.kubeconfig), or the master's own socket; no role is
enough. A token for nodes is a Secret in kube-system, as kubeadm makes it.`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			switch role {
			case membership.RoleMaster:
				if len(args) > 0 || c.Flags().Changed("groups") || c.Flags().Changed("usages") {
					return usageError{errors.New("a token for masters is made by a master, and opens no other door: leave TOKEN, --groups and --usages out, or give --role node")}
				}
				return inviteMaster(c, &f, ttl, description)
			case membership.RoleNode:
			default:
				return usageError{fmt.Errorf("--role %q: use %s or %s", role, membership.RoleMaster, membership.RoleNode)}
			}
			spec, err := membership.TokenForNodes(ttl, time.Now())
			if err != nil {
				return usageError{err}
			}
			if len(args) == 1 {
				if spec.Token, err = membership.ParseToken(args[0]); err != nil {
					return usageError{err}
				}
			}
			if c.Flags().Changed("groups") {
				spec.Groups = splitList(groups)
			}
			if c.Flags().Changed("usages") {
				spec.Usages = splitList(usages)
			}
			spec.Description = description
			if err := spec.Check(); err != nil {
				return usageError{err}
			}
			return createToken(c, &f, spec)
		},
	}
	s := c.Flags()
	f.add(s)
	s.StringVar(&role, "role", membership.RoleMaster, "What the token lets join: master or node.")
	s.DurationVar(&ttl, "ttl", tokenLife, "After how long the token expires; 0 for never, which is for nodes only.")
	s.StringVar(&description, "description", "", "What the token is for.")
	s.StringSliceVar(&groups, "groups", nil, "Groups that a node with it belongs to (default: kubeadm's).")
	s.StringSliceVar(&usages, "usages", nil, "What a node's may be used for: authentication, signing (default: both).")
	s.BoolVar(&printJoin, "print-join-command", true, "Accepted for compatibility: the command is always printed.")
	return c
}

// inviteMaster has a master make a token with which another joins.
func inviteMaster(c *cobra.Command, f *adminFlags, ttl time.Duration, description string) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	var a members.InvitationAnswer
	if err := client.Post(c.Context(), "tokens", members.InvitationRequest{Seconds: ttl.Seconds(), Description: description}, &a); err != nil {
		return err
	}
	token, err := membership.ParseToken(a.Token)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.OutOrStdout(), membership.JoinLine(membership.RoleMaster, a.Servers, token, a.Hashes))
	return nil
}

// createToken makes a token for nodes.
func createToken(c *cobra.Command, f *adminFlags, spec membership.TokenSpec) error {
	config, err := f.config()
	if err != nil {
		return err
	}
	servers, hashes, err := whereToJoin(c.Context(), config)
	if err != nil {
		return err
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = api.CoreV1().Secrets(metav1.NamespaceSystem).Create(c.Context(), spec.Secret(), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("there is a token with the ID %s already: delete it first with wheelhouse token delete %s", spec.Token.ID, spec.Token.ID)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(c.OutOrStdout(), membership.JoinLine(membership.RoleNode, servers, spec.Token, hashes))
	return nil
}

// memberList is what the command members answers.
type memberList struct {
	Members []membership.MasterStatus `json:"members"`
}

// whereToJoin gives the URLs of all live masters and the hashes of their authority.
func whereToJoin(ctx context.Context, config *rest.Config) (servers, hashes []string, err error) {
	ca := config.CAData
	if len(ca) == 0 && config.CAFile != "" {
		if ca, err = os.ReadFile(config.CAFile); err != nil {
			return nil, nil, err
		}
	}
	if hashes, err = membership.Hashes(ca); err != nil {
		return nil, nil, fmt.Errorf("the kubeconfig names no authority: %w", err)
	}
	client, err := admin.NewClient(config)
	if err != nil {
		return nil, nil, err
	}
	var list memberList
	if err := client.Get(ctx, "members", &list); err != nil {
		return nil, nil, err
	}
	for _, m := range list.Members {
		if m.Live && m.URL != "" {
			servers = append(servers, m.URL)
		}
	}
	if len(servers) == 0 {
		return nil, nil, errors.New("no master lives that could be joined")
	}
	return servers, hashes, nil
}

func tokenListCommand() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the tokens",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := f.api()
			if err != nil {
				return err
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			secrets, err := api.CoreV1().Secrets(metav1.NamespaceSystem).List(c.Context(), metav1.ListOptions{FieldSelector: "type=" + string(membership.SecretType)})
			if err != nil {
				return err
			}
			var masters members.InvitationList
			if err := client.Get(c.Context(), "tokens", &masters); apierrors.IsForbidden(err) {
				fmt.Fprintf(c.ErrOrStderr(), "wheelhouse: those for masters are not shown: %s\n", oneLine(err))
			} else if err != nil {
				return err
			}
			return printTokens(c.OutOrStdout(), secrets.Items, masters.Tokens, time.Now())
		},
	}
	f.add(c.Flags())
	return c
}

// printTokens shows nodes' tokens whole, as kubeadm does, and masters' by their IDs: nobody knows the rest any more.
func printTokens(to io.Writer, secrets []corev1.Secret, masters []membership.Invitation, now time.Time) error {
	w := tabwriter.NewWriter(to, 0, 4, 3, ' ', 0)
	fmt.Fprintln(w, "TOKEN\tTTL\tEXPIRES\tUSAGES\tDESCRIPTION\tEXTRA GROUPS")
	for _, t := range masters {
		usages := "one master"
		if t.UsedBy != "" {
			usages = "used by " + t.UsedBy
		}
		fmt.Fprintf(w, "%s.…\t%s\t%s\t%s\t%s\t%s\n", t.ID, duration.ShortHumanDuration(t.Expires.Sub(now)), t.Expires.UTC().Format(time.RFC3339), usages,
			orNone([]string{t.Description}), orNone(nil))
	}
	for i := range secrets {
		t, ok := membership.TokenOf(&secrets[i])
		if !ok {
			continue
		}
		ttl, expires := "<forever>", "<never>"
		if !t.Expires.IsZero() {
			ttl, expires = duration.ShortHumanDuration(t.Expires.Sub(now)), t.Expires.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Token, ttl, expires, orNone(t.Usages), orNone([]string{t.Description}), orNone(t.Groups))
	}
	return w.Flush()
}

func orNone(values []string) string {
	if text := strings.Join(slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" }), ","); text != "" {
		return text
	}
	return "<none>"
}

func tokenDeleteCommand() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "delete TOKEN...",
		Short: "Delete tokens, given whole or by their ID",
		Args:  arguments(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			var ids []string
			for _, text := range args {
				id, err := membership.ParseTokenID(text)
				if err != nil {
					return usageError{err}
				}
				ids = append(ids, id)
			}
			for _, id := range ids {
				if err := deleteToken(c.Context(), &f, id); err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "bootstrap token %q deleted\n", id)
			}
			return nil
		},
	}
	f.add(c.Flags())
	return c
}

// deleteToken deletes the token of an ID, be it for masters or for nodes.
func deleteToken(ctx context.Context, f *adminFlags, id string) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	masters := client.Do(ctx, http.MethodDelete, "tokens/"+id, nil, nil)
	if masters != nil && !apierrors.IsNotFound(masters) && !apierrors.IsForbidden(masters) { // a role may allow no more than Secrets
		return masters
	}
	if strings.HasPrefix(f.server, "unix://") {
		return masters
	}
	api, err := f.api()
	if err != nil {
		return err
	}
	err = api.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, membership.SecretPrefix+id, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		if masters == nil || apierrors.IsForbidden(masters) {
			return masters
		}
		return fmt.Errorf("there is no token %s: see wheelhouse token list", id)
	}
	return err
}

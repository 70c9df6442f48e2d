package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

func memberCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "member",
		Short: "List, add, remove and promote masters",
		Args:  unknownSubcommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(memberListCommand(), memberAddCommand(), memberRemoveCommand(), memberPromoteCommand(), memberMoveLeaderCommand())
	return c
}

func memberListCommand() *cobra.Command {
	var f adminFlags
	var output string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the masters",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			var list memberList
			if err := client.Get(c.Context(), "members", &list); err != nil {
				return err
			}
			if output == "json" {
				return printJSON(c.OutOrStdout(), list)
			}
			return printMembers(c.OutOrStdout(), list.Members)
		},
	}
	f.add(c.Flags())
	addOutput(c, &output)
	return c
}

func printMembers(to io.Writer, members []membership.MasterStatus) error {
	w := tabwriter.NewWriter(to, 0, 4, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tROLE\tLIVE\tURL\tPEER URL\tVERSION")
	for _, m := range members {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", dash(m.Name), dash(m.ID), dash(m.Role), yesNo(m.Live), dash(m.URL), dash(m.PeerURL), dash(m.Version))
	}
	return w.Flush()
}

func memberAddCommand() *cobra.Command {
	var f adminFlags
	ttl := tokenLife
	c := &cobra.Command{
		Use:   "add",
		Short: "Make a token, and print the command with which another master joins",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return inviteMaster(c, &f, ttl, "")
		},
	}
	f.add(c.Flags())
	c.Flags().DurationVar(&ttl, "ttl", ttl, "After how long the token expires. It lets one master in, once.")
	return c
}

// changedMember is whom a command was about.
type changedMember struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

func (m changedMember) String() string {
	if m.Name != "" {
		return m.Name
	}
	return m.ID
}

func memberRemoveCommand() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a master, given as member list shows it",
		Long: `Remove a master, given as member list shows it: by name, ID, URL, host and port, or host.

If it runs it stops, and its data can never be used again: to make the same machine a master once
more, empty its data folder and let it join. A removal that would leave too few masters to agree
on anything is refused.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return changeMember(c, &f, http.MethodDelete, "members/"+url.PathEscape(args[0]), nil, "%s was removed; empty its data folder before it joins again\n")
		},
	}
	f.add(c.Flags())
	return c
}

func memberPromoteCommand() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "promote NAME",
		Short: "Give a master that stands by a vote",
		Long: `Give a master that stands by a vote.

That happens by itself as soon as it is of use: two voting masters survive no more failures than
one, so that the second waits until there is a third.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return changeMember(c, &f, http.MethodPost, "members/"+url.PathEscape(args[0])+"/promote", nil, "%s is a voting member\n")
		},
	}
	f.add(c.Flags())
	return c
}

func memberMoveLeaderCommand() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "move-leader [NAME]",
		Short: "Make a master, or any other than the present one, the leader",
		Args:  arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			var in struct {
				Name string `json:"name,omitempty"`
			}
			if len(args) == 1 {
				in.Name = args[0]
			}
			return changeMember(c, &f, http.MethodPost, "leader", in, "%s leads\n")
		},
	}
	f.add(c.Flags())
	return c
}

func changeMember(c *cobra.Command, f *adminFlags, method, path string, in any, done string) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	var who changedMember
	if err := client.Do(c.Context(), method, path, in, &who); err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), done, who)
	return nil
}

func addOutput(c *cobra.Command, output *string) {
	c.Flags().StringVarP(output, "output", "o", "", "json for all details")
}

func checkOutput(output string) error {
	if output != "" && output != "json" {
		return usageError{fmt.Errorf("--output %q: only json is known", output)}
	}
	return nil
}

func printJSON(to io.Writer, v any) error {
	e := json.NewEncoder(to)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// Command gitops judges objects as GitOps tools do, with their own engines:
//
//	gitops argocd < PROGRAM.lua           runs a program as Argo CD runs health scripts and actions
//	gitops flux KUSTOMIZATION < OBJECT    the status that Flux's health expressions give an object, one JSON document
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// limit is what Argo CD gives a script.
const limit = time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gitops:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] == "argocd":
		return runLua(string(input))
	case len(args) == 2 && args[0] == "flux":
		return judge(args[1], input)
	}
	return errors.New("usage: gitops argocd | flux KUSTOMIZATION")
}

// runLua opens the libraries that Argo CD opens for a script, and no others.
func runLua(program string) error {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	} {
		open := lua.P{Fn: state.NewFunction(library.open), NRet: 0, Protect: true}
		if err := state.CallByParam(open, lua.LString(library.name)); err != nil {
			return err
		}
	}
	state.PreloadModule(lua.OsLibName, clock)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	state.SetContext(ctx)
	return state.DoString(program)
}

// clock is what Argo CD gives a script that requires "os": the time. There is no global of that name.
func clock(state *lua.LState) int {
	whole := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer whole.Close()
	lua.OpenOs(whole)
	told := map[string]lua.LGFunction{}
	for _, name := range []string{"time", "date"} {
		told[name] = whole.GetField(whole.GetGlobal(lua.OsLibName), name).(*lua.LFunction).GFunction
	}
	state.Push(state.SetFuncs(state.NewTable(), told))
	return 1
}

// judge takes the expressions for the object's kind out of a file of Kustomizations.
func judge(file string, input []byte) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return err
	}
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(input, object); err != nil {
		return err
	}
	for _, check := range kustomization.Spec.HealthCheckExprs {
		if check.APIVersion != object.GetAPIVersion() || check.Kind != object.GetKind() {
			continue
		}
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			return err
		}
		result, err := evaluator.Evaluate(context.Background(), object)
		if err != nil {
			return err
		}
		fmt.Println(result.Status)
		return nil
	}
	return fmt.Errorf("%s has no expressions for %s %s", file, object.GetAPIVersion(), object.GetKind())
}

// Command gitops looks at objects as the tools around a cluster do, with their own engines:
//
//	gitops argocd < PROGRAM.lua                 runs a program as Argo CD runs health scripts and actions
//	gitops flux KUSTOMIZATION < OBJECT          the status that Flux's health expressions give an object, one JSON document
//	gitops kube-state-metrics CONFIG < OBJECT   the metrics that kube-state-metrics makes of an object
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	yamlv3 "gopkg.in/yaml.v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/kube-state-metrics/v2/pkg/customresourcestate"
	"k8s.io/kube-state-metrics/v2/pkg/metric"
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
	case len(args) == 2 && args[0] == "kube-state-metrics":
		return measure(args[1], input)
	}
	return errors.New("usage: gitops argocd | flux KUSTOMIZATION | kube-state-metrics CONFIG")
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

// measure takes the metrics out of a configuration of custom resources; a field that it does not have is an error.
func measure(file string, input []byte) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	decoder := yamlv3.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	var config struct {
		Kind                        string `yaml:"kind"`
		customresourcestate.Metrics `yaml:",inline"`
	}
	if err := decoder.Decode(&config); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(input, object); err != nil {
		return err
	}
	for _, resource := range config.Spec.Resources {
		for i := range resource.Metrics {
			// As kube-state-metrics does when it reads a configuration.
			kind := &resource.Metrics[i].Each.Type
			*kind = metric.Type(strings.ToLower(string(*kind)))
		}
		factory, err := customresourcestate.NewCustomResourceMetrics(resource)
		if err != nil {
			return err
		}
		for _, family := range factory.MetricFamilyGenerators() {
			if _, err := os.Stdout.Write(family.Generate(object).ByteSlice()); err != nil {
				return err
			}
		}
	}
	return nil
}

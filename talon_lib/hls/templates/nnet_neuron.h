#ifndef TALON_NNET_NEURON_H_
#define TALON_NNET_NEURON_H_

// Neurons, one kernel for all kinds:
//
//   i = synapse * i + x                          current-based kinds alone, else i is x
//   v = decay * (v - leak) + leak + i            kinds that do not leak: v = v + i
//   spike = v >= threshold                       strict: v > threshold
//   v = reset where it spiked                    subtract: v = v - threshold; delayed: in the next step
//
// One call is one timestep. State is static arrays of the layer (CONFIG_T makes every instance unique), so it lives from
// call to call; `restart` at 1 starts a sample: all state counts as 0 in that step. Each update is one exact expression
// and one cast (products and sums of ap_fixed grow, so nothing is lost before the cast).

#include "hls_stream.h"
#include "nnet_common.h"
#include "nnet_types.h"

#ifdef TALON_PROBE
// C simulation only, never defined for synthesis: the driver sees every spike and all state without a debug port.
void talon_probe(unsigned layer, unsigned neuron, bool spike, double membrane, double current);
#endif

namespace nnet {

struct neuron_config {
    static const unsigned layer = 0;      // index for the probe
    static const unsigned n_in = 10;      // neurons, flattened
    static const bool leaks = true;
    static const bool current_based = false;
    static const bool spiking = true;
    static const bool subtract = false;
    static const bool delayed = false;
    static const bool strict = false;
    static const bool forgets = false;    // every step starts from 0
    static const unsigned io_type = io_parallel;
    static const unsigned reuse_factor = 1;
    static const unsigned multiplier_limit = 10;
    typedef float membrane_t;
    typedef ap_uint<1> current_t; // unused
};

// Stands for the table of a parameter that a kind of neuron does not have.
struct no_table {
    ap_uint<1> operator[](unsigned) const { return 0; }
};

template <class decay_T, class leak_T, class threshold_T, class reset_T, class synapse_T> struct neuron_tables {
    decay_T decay;
    leak_T leak;
    threshold_T threshold;
    reset_T reset;
    synapse_T synapse;
};

template <typename CONFIG_T, class threshold_T> bool neuron_fires(typename CONFIG_T::membrane_t v, threshold_T threshold) {
    #pragma HLS INLINE
    return CONFIG_T::strict ? bool(v > threshold) : bool(v >= threshold);
}

// The new membrane, before a reset that is not delayed.
template <typename CONFIG_T, class drive_T, class TABLES>
typename CONFIG_T::membrane_t neuron_integrate(unsigned n, typename CONFIG_T::membrane_t v, drive_T drive,
                                               const TABLES &tables) {
    #pragma HLS INLINE
    typedef typename CONFIG_T::membrane_t membrane_t;
    bool spiked = CONFIG_T::delayed && neuron_fires<CONFIG_T>(v, tables.threshold[n]);
    membrane_t taken = 0;
    if (spiked && CONFIG_T::subtract)
        taken = tables.threshold[n];
    membrane_t now;
    if (CONFIG_T::leaks)
        now = (membrane_t)(tables.decay[n] * (v - tables.leak[n]) + tables.leak[n] + drive - taken);
    else
        now = (membrane_t)(v + drive - taken);
    if (spiked && !CONFIG_T::subtract)
        now = tables.reset[n];
    return now;
}

template <class res_T, typename CONFIG_T, class x_T, class TABLES>
res_T neuron_step(unsigned n, bool restart, x_T x, typename CONFIG_T::membrane_t v[CONFIG_T::n_in],
                  typename CONFIG_T::current_t i[CONFIG_T::n_in], const TABLES &tables) {
    #pragma HLS INLINE
    typename CONFIG_T::membrane_t now = v[n];
    typename CONFIG_T::current_t current = 0;
    if (restart || CONFIG_T::forgets)
        now = 0;
    if (CONFIG_T::current_based) {
        if (!restart)
            current = i[n];
        current = (typename CONFIG_T::current_t)(tables.synapse[n] * current + x);
        i[n] = current;
        now = neuron_integrate<CONFIG_T>(n, now, current, tables);
    } else {
        now = neuron_integrate<CONFIG_T>(n, now, x, tables);
    }
    bool spike = CONFIG_T::spiking && neuron_fires<CONFIG_T>(now, tables.threshold[n]);
    if (spike && !CONFIG_T::delayed) {
        if (CONFIG_T::subtract)
            now = (typename CONFIG_T::membrane_t)(now - tables.threshold[n]);
        else
            now = tables.reset[n];
    }
    v[n] = now;
#ifdef TALON_PROBE
    talon_probe(CONFIG_T::layer, n, spike, (double)now, (double)current);
#endif
    if (!CONFIG_T::spiking)
        return (res_T)now;
    return spike ? (res_T)1 : (res_T)0;
}

// ---- io_parallel: the whole layer in one call

template <class data_T, class restart_T, class res_T, typename CONFIG_T, class decay_T, class leak_T, class threshold_T,
          class reset_T, class synapse_T>
void neurons(data_T data[CONFIG_T::n_in], restart_T restart[1], res_T res[CONFIG_T::n_in], decay_T decay, leak_T leak,
             threshold_T threshold, reset_T reset, synapse_T synapse) {
    #pragma HLS PIPELINE II=CONFIG_T::reuse_factor
    #pragma HLS ALLOCATION operation instances=mul limit=CONFIG_T::multiplier_limit
    static typename CONFIG_T::membrane_t v[CONFIG_T::n_in];
    #pragma HLS ARRAY_PARTITION variable=v complete
    #pragma HLS RESET variable=v
    static typename CONFIG_T::current_t i[CONFIG_T::n_in];
    #pragma HLS ARRAY_PARTITION variable=i complete
    #pragma HLS RESET variable=i
    const neuron_tables<decay_T, leak_T, threshold_T, reset_T, synapse_T> tables = {decay, leak, threshold, reset, synapse};
    bool first = (restart[0] != 0);
Neurons:
    for (unsigned n = 0; n < CONFIG_T::n_in; n++) {
        #pragma HLS UNROLL
        res[n] = neuron_step<res_T, CONFIG_T>(n, first, data[n], v, i, tables);
    }
}

// ---- io_stream: token by token, one restart token a step

template <class data_T, class restart_T, class res_T, typename CONFIG_T, class decay_T, class leak_T, class threshold_T,
          class reset_T, class synapse_T>
void neurons(hls::stream<data_T> &data, hls::stream<restart_T> &restart, hls::stream<res_T> &res, decay_T decay,
             leak_T leak, threshold_T threshold, reset_T reset, synapse_T synapse) {
    static_assert(data_T::size == res_T::size, "neurons: the tokens of input and output differ in size");
    static typename CONFIG_T::membrane_t v[CONFIG_T::n_in];
    #pragma HLS ARRAY_RESHAPE variable=v cyclic factor=data_T::size dim=1
    static typename CONFIG_T::current_t i[CONFIG_T::n_in];
    #pragma HLS ARRAY_RESHAPE variable=i cyclic factor=data_T::size dim=1
    const neuron_tables<decay_T, leak_T, threshold_T, reset_T, synapse_T> tables = {decay, leak, threshold, reset, synapse};
    restart_T restart_token = restart.read();
    bool first = (restart_token[0] != 0);
Tokens:
    for (unsigned token = 0; token < CONFIG_T::n_in / data_T::size; token++) {
        #pragma HLS PIPELINE II=CONFIG_T::reuse_factor
        data_T in = data.read();
        res_T out;
        PRAGMA_DATA_PACK(out)
        for (unsigned j = 0; j < data_T::size; j++) {
            #pragma HLS UNROLL
            out[j] = neuron_step<typename res_T::value_type, CONFIG_T>(token * data_T::size + j, first, in[j], v, i, tables);
        }
        res.write(out);
    }
}

} // namespace nnet

#endif

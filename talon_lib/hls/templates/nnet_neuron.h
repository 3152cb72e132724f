#ifndef TALON_NNET_NEURON_H_
#define TALON_NNET_NEURON_H_

// What LIF and IF neurons share: state, restart, the loop over neurons, and both io types.
//
// One call is one timestep. The membranes are a static array of the layer (CONFIG_T makes every instance unique), so
// they live from call to call; `restart` at 1 starts a sample: all membranes count as 0 in that step.
// UPDATE::step computes one neuron's new membrane from the old one as one exact expression and one cast to membrane_t
// (products and sums of ap_fixed grow, so nothing is lost before the cast).

#include "hls_stream.h"
#include "nnet_common.h"
#include "nnet_types.h"

#ifdef TALON_PROBE
// C simulation only, never defined for synthesis: the driver sees every spike and membrane without a debug port.
void talon_probe(unsigned layer, unsigned neuron, bool spike, double membrane);
#endif

namespace nnet {

struct neuron_config {
    static const unsigned layer = 0;      // index for the probe
    static const unsigned n_in = 10;      // neurons, flattened
    static const bool subtract = false;   // reset by subtraction of the threshold
    static const unsigned io_type = io_parallel;
    static const unsigned reuse_factor = 1;
    static const unsigned multiplier_limit = 10;
    typedef float membrane_t;
    typedef float threshold_t;
};

// Fires and resets one neuron whose new membrane is v; returns whether it spiked.
template <typename CONFIG_T>
bool neuron_fire(typename CONFIG_T::membrane_t &v, typename CONFIG_T::membrane_t leak,
                 typename CONFIG_T::threshold_t threshold) {
    #pragma HLS INLINE
    bool spike = (v >= threshold);
    if (spike) {
        if (CONFIG_T::subtract)
            v = (typename CONFIG_T::membrane_t)(v - threshold);
        else
            v = leak;
    }
    return spike;
}

template <class x_T, class UPDATE, typename CONFIG_T>
bool neuron_step(unsigned i, bool restart, x_T x, typename CONFIG_T::membrane_t v[CONFIG_T::n_in],
                 const UPDATE &update) {
    #pragma HLS INLINE
    typename CONFIG_T::membrane_t now = v[i];
    if (restart)
        now = 0;
    bool spike = update.step(i, x, now);
    v[i] = now;
#ifdef TALON_PROBE
    talon_probe(CONFIG_T::layer, i, spike, (double)now);
#endif
    return spike;
}

// ---- io_parallel: the whole layer in one call

template <class data_T, class restart_T, class res_T, class UPDATE, typename CONFIG_T>
void neurons(data_T data[CONFIG_T::n_in], restart_T restart[1], res_T res[CONFIG_T::n_in], const UPDATE &update) {
    #pragma HLS PIPELINE II=CONFIG_T::reuse_factor
    #pragma HLS ALLOCATION operation instances=mul limit=CONFIG_T::multiplier_limit
    static typename CONFIG_T::membrane_t v[CONFIG_T::n_in];
    #pragma HLS ARRAY_PARTITION variable=v complete
    #pragma HLS RESET variable=v
    bool first = (restart[0] != 0);
Neurons:
    for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
        #pragma HLS UNROLL
        res[i] = neuron_step<data_T, UPDATE, CONFIG_T>(i, first, data[i], v, update) ? 1 : 0;
    }
}

// ---- io_stream: token by token, one restart token a step

template <class data_T, class restart_T, class res_T, class UPDATE, typename CONFIG_T>
void neurons(hls::stream<data_T> &data, hls::stream<restart_T> &restart, hls::stream<res_T> &res,
             const UPDATE &update) {
    static_assert(data_T::size == res_T::size, "neurons: the tokens of input and output differ in size");
    static typename CONFIG_T::membrane_t v[CONFIG_T::n_in];
    #pragma HLS ARRAY_RESHAPE variable=v cyclic factor=data_T::size dim=1
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
            bool spike = neuron_step<typename data_T::value_type, UPDATE, CONFIG_T>(token * data_T::size + j, first,
                                                                                    in[j], v, update);
            out[j] = spike ? 1 : 0;
        }
        res.write(out);
    }
}

} // namespace nnet

#endif

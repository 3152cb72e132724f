#ifndef TALON_NNET_LIF_H_
#define TALON_NNET_LIF_H_

// Leaky integrate-and-fire:  v = decay * (v - leak) + leak + x;  spike = v >= threshold;  reset where it spiked.

#include "nnet_neuron.h"

namespace nnet {

struct lif_config : neuron_config {
    typedef float decay_t;
    typedef float leak_t;
};

template <typename CONFIG_T> struct lif_update {
    typename CONFIG_T::decay_t *decay;
    typename CONFIG_T::leak_t *leak;
    typename CONFIG_T::threshold_t *threshold;

    template <class x_T> bool step(unsigned i, x_T x, typename CONFIG_T::membrane_t &v) const {
        #pragma HLS INLINE
        v = (typename CONFIG_T::membrane_t)(decay[i] * (v - leak[i]) + leak[i] + x);
        return neuron_fire<CONFIG_T>(v, leak[i], threshold[i]);
    }
};

// data_T and res_T are arrays in io_parallel and streams in io_stream; both reach the overload that fits.
template <class data_T, class restart_T, class res_T, typename CONFIG_T>
void lif(data_T data[CONFIG_T::n_in], restart_T restart[1], res_T res[CONFIG_T::n_in],
         typename CONFIG_T::decay_t decay[CONFIG_T::n_in], typename CONFIG_T::leak_t leak[CONFIG_T::n_in],
         typename CONFIG_T::threshold_t threshold[CONFIG_T::n_in]) {
    #pragma HLS INLINE
    lif_update<CONFIG_T> update = {decay, leak, threshold};
    neurons<data_T, restart_T, res_T, lif_update<CONFIG_T>, CONFIG_T>(data, restart, res, update);
}

template <class data_T, class restart_T, class res_T, typename CONFIG_T>
void lif(hls::stream<data_T> &data, hls::stream<restart_T> &restart, hls::stream<res_T> &res,
         typename CONFIG_T::decay_t decay[CONFIG_T::n_in], typename CONFIG_T::leak_t leak[CONFIG_T::n_in],
         typename CONFIG_T::threshold_t threshold[CONFIG_T::n_in]) {
    #pragma HLS INLINE
    lif_update<CONFIG_T> update = {decay, leak, threshold};
    neurons<data_T, restart_T, res_T, lif_update<CONFIG_T>, CONFIG_T>(data, restart, res, update);
}

} // namespace nnet

#endif

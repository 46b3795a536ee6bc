# frozen_string_literal: true

Puppet::Type.newtype(:stagedoor_private_ca) do
  @doc = <<~DOC
    Looks at a CA before a server trusts it; changes nothing. It fails, and so does what depends on it, when the CA has
    anything in common with the Puppet CA, whose every agent would be let in, and when Jetty would turn everybody away:
    a certificate or revocation list that has run out, or a CA without a list.

        stagedoor_private_ca { '/etc/puppetlabs/puppetserver/stagedoor/ca.pem':
          crl       => '/etc/puppetlabs/puppetserver/stagedoor/crl.pem',
          puppet_ca => '/etc/puppetlabs/puppet/ssl/certs/ca.pem',
        }
  DOC

  newparam(:path, namevar: true) do
    desc 'The certificates of the CA, as PEM.'
  end

  newparam(:crl) do
    desc 'Its revocation lists, one for each certificate, as PEM.'
  end

  newparam(:puppet_ca) do
    desc 'The certificates of the Puppet CA.'
  end

  newproperty(:fit) do
    desc 'Always true; anything else is an error.'
    defaultto true

    def retrieve
      # A run that only shows what it would do has not written the files.
      return true if resource.noop? && !File.exist?(resource[:path])

      provider.look
      true
    end
  end

  autorequire(:file) { [self[:path], self[:crl]] }
end
